# SPDX-License-Identifier: MIT
"""The mutants of a source, made by rules (mutate.py)."""

import hashlib
import re
from collections import Counter, namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Mutant = namedtuple("Mutant", "id file function rule before after line start end text")

TOKEN = re.compile(r"""(?P<space>\s+|/\*.*?\*/|//[^\n]*)|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
                       |(?P<number>0[xX][0-9a-fA-F]+[uUlL]*|\d+[uUlL]*)|(?P<word>[A-Za-z_]\w*)
                       |(?P<sign><<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||->|\+\+|--|[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]\#\\])""", re.X | re.S)
Token = namedtuple("Token", "kind text start end")

SWAPS = {"==": ("!=",), "!=": ("==",), "<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "&&": ("||",),
         "||": ("&&",), "+": ("-",), "<<": (">>",), ">>": ("<<",), "|=": ("&=", "="), "&=": ("|=", "="), "+=": ("-=", "=")}
VERDICTS = {"PST_VERDICT_DENY": ("PST_VERDICT_ALLOW",), "PST_VERDICT_ALLOW": ("PST_VERDICT_DENY",),
            "PST_VERDICT_RELAY": ("PST_VERDICT_ALLOW", "PST_VERDICT_DENY"), "PST_VERDICT_GATE": ("PST_VERDICT_ALLOW",),
            "PST_VERDICT_OWNER": ("PST_VERDICT_ALLOW", "PST_VERDICT_DENY"), "PST_VERDICT_WOULD_DENY": ("PST_VERDICT_ALLOW", "PST_VERDICT_DENY")}
OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}


def tokens_of(text):
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise SystemExit(f"mutate: cannot read {text[at:at + 40]!r}")
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match[0], at, match.end()))
        at = match.end()
    return found


def blank(text, directives=True):
    """The same length, without comments, and without directives, which are no code."""
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    if not directives:
        return text
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.M)


def matching(tokens):
    """Index of each bracket's partner."""
    partner, stack = {}, []
    for i, token in enumerate(tokens):
        if token.text in OPENING:
            stack.append(i)
        elif token.text in CLOSING:
            opened = stack.pop()
            partner[opened], partner[i] = i, opened
    return partner


def functions(tokens, partner):
    """(name, first, last) of each body at the top level."""
    i, start = 0, 0
    while i < len(tokens):
        if tokens[i].text in "([":
            i = partner[i]
        elif tokens[i].text == "{":
            before = tokens[start:i]
            call = next((j for j in range(start, i - 1) if tokens[j].kind == "word" and tokens[j + 1].text == "(" and
                         tokens[j].text not in ("__attribute__", "PST_ASSERT")), None)
            if call is not None and not any(t.text in ("struct", "enum", "=") and n < 1 for n, t in enumerate(before)) or \
                    call is not None and tokens[i - 1].text == ")":
                yield tokens[call].text, i, partner[i]
            i = partner[i]
            start = i + 1
        elif tokens[i].text == ";":
            start = i + 1
        i += 1


class Source:
    """Collects the mutants of one file."""

    def __init__(self, name):
        self.name = name
        self.text = (ROOT / "bpf" / name).read_text("utf-8")
        self.code = blank(self.text)
        self.tokens = tokens_of(self.code)
        self.partner = matching(self.tokens)
        self.found, self.seen = [], Counter()
        for function, first, last in functions(self.tokens, self.partner):
            self.body(function, first, last)
        self.constants()

    def add(self, function, rule, first, last, after):
        """Tokens first to last become `after`."""
        start, end = self.tokens[first].start, self.tokens[last].end
        self.add_at(function, rule, start, end, after)

    def add_at(self, function, rule, start, end, after):
        before = self.text[start:end]
        if after == before:
            return
        line = self.text.count("\n", 0, start) + 1
        text = " ".join(self.text.splitlines()[line - 1].split())
        what = (self.name, function, rule, " ".join(before.split()), after, text)
        self.seen[what] += 1
        number = hashlib.sha256("|".join((*what, str(self.seen[what]))).encode()).hexdigest()[:10]
        self.found.append(Mutant(number, self.name, function, rule, " ".join(before.split()), after, line, start, end, text))

    def body(self, function, first, last):
        i = first + 1
        while i < last:
            self.token(function, i, first)
            i += 1
        self.statements(function, first, last)

    def token(self, function, i, first):
        token, before, after = self.tokens[i], self.tokens[i - 1], self.tokens[i + 1]
        if token.text in ("if", "while") and after.text == "(":
            self.condition(function, i + 1)
        elif token.text in ("&&", "||"):
            self.operands(function, i, first)
        if token.text == "!" and not before.text == "!":
            self.add(function, "not dropped", i, i, "")
        if token.text in SWAPS and not (token.text == "+" and before.text in ("(", ",", "=", "return")):
            for swap in SWAPS[token.text]:
                self.add(function, "operator", i, i, swap)
        elif token.text == "-" and (before.kind in ("word", "number") or before.text in ")]") and before.text != "return":
            self.add(function, "operator", i, i, "+")
        elif token.text in ("&", "|") and (before.kind in ("word", "number") or before.text in ")]") and before.text != "return":
            self.add(function, "operator", i, i, "|" if token.text == "&" else "&")
        if token.text in VERDICTS:
            for verdict in VERDICTS[token.text]:
                self.add(function, "verdict", i, i, verdict)
        elif token.kind == "number":
            self.number(function, i)
        elif token.text == "sizeof" and after.text == "(":
            end = self.partner[i + 1]
            for off in ("+ 1", "- 1"):
                self.add(function, "length", i, end, f"({self.text[token.start:self.tokens[end].end]} {off})")
        elif token.text == "return":
            self.returned(function, i)

    def condition(self, function, opening):
        closing = self.partner[opening]
        inner = self.text[self.tokens[opening].end:self.tokens[closing].start]
        self.add(function, "check dropped", opening, closing, "(0)")
        self.add(function, "check always", opening, closing, "(1)")
        self.add(function, "check turned", opening, closing, f"(!({' '.join(inner.split())}))")

    def bounds(self, i, first):
        """The operands of && or || at i: [left, i) and (i, right]."""
        ends = {"&&": ("&&", "||", "?", ":", ",", ";", "=", "return"), "||": ("||", "?", ":", ",", ";", "=", "return")}[self.tokens[i].text]
        left = i - 1
        while left > first:
            if self.tokens[left].text in CLOSING:
                left = self.partner[left]
            if self.tokens[left - 1].text in OPENING or self.tokens[left - 1].text in ends:
                break
            left -= 1
        right = i + 1
        while True:
            if self.tokens[right].text in OPENING:
                right = self.partner[right]
            if self.tokens[right + 1].text in CLOSING or self.tokens[right + 1].text in ends:
                break
            right += 1
        return left, right

    def operands(self, function, i, first):
        left, right = self.bounds(i, first)
        neutral = "1" if self.tokens[i].text == "&&" else "0"
        self.add(function, "operand dropped", left, i - 1, neutral)
        self.add(function, "operand dropped", i + 1, right, neutral)

    def number(self, function, i):
        token = self.tokens[i]
        value = int(re.sub("[uUlL]+$", "", token.text), 0)
        if self.tokens[i - 1].text == "case":
            return
        for other in (value + 1, value - 1):
            if other >= 0:
                self.add(function, "one off", i, i, hex(other) if token.text.lower().startswith("0x") else str(other))

    def returned(self, function, i):
        """What is returned turned, where it is more than a number."""
        end = i + 1
        while self.tokens[end].text != ";":
            end = self.partner[end] + 1 if self.tokens[end].text in OPENING else end + 1
        if end - i > 2 or (end - i == 2 and self.tokens[i + 1].kind == "word"):
            inner = " ".join(self.text[self.tokens[i + 1].start:self.tokens[end - 1].end].split())
            if not inner.startswith("pst_answer(") and "struct" not in inner:
                self.add(function, "result turned", i + 1, end - 1, f"!({inner})")

    def statements(self, function, first, last):
        """Assignments and calls left out; declarations stay."""
        i = first + 1
        while i < last:
            if self.tokens[i - 1].text not in "{};)" and self.tokens[i - 1].text != "else" or self.tokens[i].kind != "word" and self.tokens[i].text != "*":
                i += 1
                continue
            end = i
            while end < last and self.tokens[end].text not in ";{":
                end = self.partner[end] + 1 if self.tokens[end].text in "([" else end + 1
            if end >= last or self.tokens[end].text == "{":
                i += 1
                continue
            if self.is_effect(i, end):
                self.add(function, "left out", i, end - 1, "(void)0")
            i = end + 1

    def is_effect(self, i, end):
        """An assignment, or a call: not a declaration, a jump, or a condition's head."""
        words = [t.text for t in self.tokens[i:end]]
        if words[0] in ("return", "if", "for", "while", "switch", "case", "default", "struct", "const", "static", "else", "do", "break",
                        "continue", "enum", "asm", "int", "void", "long", "unsigned") or words[0].startswith("__u") or words[0].startswith("__be"):
            return words[0] == "break"
        if self.tokens[i - 1].text == ")" and self.tokens[self.partner[i - 1] - 1].text not in ("if", "for", "while"):
            return False
        return words[1:2] == ["("] or any(w in words for w in ("=", "|=", "&=", "+=", "-=", "++", "--"))

    def constants(self):
        """The file's own numbers with names."""
        for match in re.finditer(r"^#define\s+(\w+)\s+(0[xX][0-9a-fA-F]+|\d+)U?\b", self.text, re.M):
            value = int(match[2], 0)
            for other in (value + 1, value - 1):
                if other >= 0:
                    self.add_at("#define", "one off", match.start(2), match.end(2), str(other))


def described(mutant):
    return f"{mutant.file}:{mutant.line} {mutant.function}: {mutant.rule}: {mutant.before} -> {mutant.after or '(nothing)'}  [{mutant.text}]"


def listed(mutant):
    """As survivors.txt has it: the line's number would change with every line above it."""
    return described(mutant).replace(f":{mutant.line} ", " ", 1)
