// SPDX-License-Identifier: MIT
// Runs what a test writes against the E2B SDK, as an E2B user would: each line of standard input is a JSON string, the
// body of an async function that has everything the SDK exports, and `my`, which stays from line to line. Answers each
// with one line: {"value": what it returned} or {"error": {"classes": [from its own up], "message", "statusCode"}}.
//   node client.mjs SDK_ENTRY
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const sdk = await import(pathToFileURL(process.argv[2]))
const names = Object.keys(sdk).filter((name) => name !== 'default')
const AsyncFunction = (async () => {}).constructor
const my = {}

function classesOf(error) {
  const classes = []
  for (let p = Object.getPrototypeOf(error); p && p !== Object.prototype; p = Object.getPrototypeOf(p))
    classes.push(p.constructor.name)
  return classes
}

async function run(body) {
  try {
    const value = await new AsyncFunction(...names, 'my', body)(...names.map((name) => sdk[name]), my)
    return { value: value === undefined ? null : value }
  } catch (error) {
    if (!(error instanceof Error))
      return { error: { classes: [], message: String(error) } }
    return { error: { classes: classesOf(error), message: error.message, statusCode: error.statusCode } }
  }
}

console.log(JSON.stringify({ ready: names.includes('Sandbox') }))
for await (const line of readline.createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await run(JSON.parse(line))))
