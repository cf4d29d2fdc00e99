/* SPDX-License-Identifier: MIT */
/* A device's record: written aside, and put in force by one word. */
#include <errno.h>
#include <string.h>
#include <bpf/bpf.h>

#include "kern/object.h"

int kern_device_write(const struct kern_object *object, __u32 slot,
		      const struct pst_sandbox *record, const struct kern_own *own)
{
	struct pst_device device = {.sandbox = *record, .n_macs = own->n_macs, .n_own = own->n_own};

	memcpy(device.mac, own->mac, sizeof(device.mac));
	memcpy(device.own, own->own, sizeof(device.own));
	return bpf_map_update_elem(object->map_fd[KERN_MAP_DEVICES], &slot, &device, BPF_ANY);
}

int kern_device_read(const struct kern_object *object, __u32 slot, struct pst_sandbox *ret_record,
		     struct kern_own *ret_own)
{
	struct pst_device device;
	int r = bpf_map_lookup_elem(object->map_fd[KERN_MAP_DEVICES], &slot, &device);

	if (r < 0)
		return r;
	*ret_record = device.sandbox;
	*ret_own = (struct kern_own){.n_macs = device.n_macs, .n_own = device.n_own};
	memcpy(ret_own->mac, device.mac, sizeof(device.mac));
	memcpy(ret_own->own, device.own, sizeof(device.own));
	return 0;
}

int kern_device_named(const struct kern_object *object, __u32 ifindex, __u32 *ret_slot)
{
	__u64 ref;
	int r = bpf_map_lookup_elem(object->map_fd[KERN_MAP_NETDEVS], &ifindex, &ref);

	if (!r)
		*ret_slot = PST_DEVICE_SLOT(ref);
	return r;
}

int kern_device_name(const struct kern_object *object, __u32 ifindex, __u32 slot, __u64 generation)
{
	__u64 ref = PST_DEVICE_REF(generation, slot);

	return bpf_map_update_elem(object->map_fd[KERN_MAP_NETDEVS], &ifindex, &ref, BPF_ANY);
}

int kern_device_unname(const struct kern_object *object, __u32 ifindex, __u32 slot)
{
	__u32 named = 0;
	int r = kern_device_named(object, ifindex, &named);

	if (!r && named == slot)
		r = bpf_map_delete_elem(object->map_fd[KERN_MAP_NETDEVS], &ifindex);
	return r == -ENOENT ? 0 : r;
}
