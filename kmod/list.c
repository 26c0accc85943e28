// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files with a line, or some, for each container. A reader of the host gets
 * all of them, one in a container its own. Who reads is decided when the file
 * is read from its start; somebody else who goes on with it gets its end.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "internal.h"

struct vz_list_reader {
	const struct vz_list_format *format;
	struct vz_list *list;
	struct vz_ub_set *sets;		/* as of one moment, one for each of the list */
};

static int vz_list_compare(const void *a, const void *b)
{
	const struct vz_list_item *one = a, *other = b;

	return one->ctid < other->ctid ? -1 : one->ctid > other->ctid;
}

static void vz_list_fill(struct vz_list *list, unsigned int room)
{
	struct vz_ct_position position = {};
	struct vz_ct_info info;

	list->item[0] = (struct vz_list_item){};
	for (list->count = 1; list->count < room && vz_ct_next(&position, &info); list->count++) {
		list->item[list->count].cgroup_id = info.cgroup_id;
		list->item[list->count].ctid = info.ctid;
	}
	sort(list->item, list->count, sizeof(list->item[0]), vz_list_compare, NULL);
}

/* The containers that current may see, to be freed with kvfree(). */
struct vz_list *vz_list_make(void)
{
	u64 reader = vz_ct_of_reader();
	unsigned int room = reader ? 1 : vz_ct_count() + 16;
	struct vz_list *list = kvmalloc(struct_size(list, item, room), GFP_KERNEL_ACCOUNT);
	struct vz_ct_info info;

	if (!list)
		return ERR_PTR(-ENOMEM);
	list->reader = reader;
	if (!reader) {
		vz_list_fill(list, room);
		return list;
	}
	list->count = !vz_ct_get(reader, &info);
	list->item[0].cgroup_id = reader;
	list->item[0].ctid = list->count ? info.ctid : 0;
	return list;
}

static void vz_list_forget(struct vz_list_reader *reader)
{
	kvfree(reader->list);
	kvfree(reader->sets);
	reader->list = NULL;
	reader->sets = NULL;
}

/* Marks those that are gone: the host has number 0 only at the start of a list. */
static void vz_list_count_one(struct vz_list_reader *reader, unsigned int n,
			      struct vz_ub_maps *maps, struct vz_cgfile *file,
			      struct vz_ub_set *sum)
{
	struct vz_ub_set *set = &reader->sets[n];
	struct vz_view view;
	unsigned int row;

	if (!vz_view_find(reader->list->item[n].cgroup_id, &view)) {
		reader->list->item[n].cgroup_id = 0;
		return;
	}
	vz_ub_of(&view, maps, file, set);
	for (row = 0; row < VZ_UB_ROWS && !view.nested; row++)
		sum->row[row].held += set->row[row].held;
	vz_view_put(&view);
}

/* Counters of all containers, and then of the host: what is left. */
static int vz_list_count(struct vz_list_reader *reader, struct vz_cgfile *file,
			 struct vz_ub_set *sum)
{
	struct vz_ub_maps *maps = vz_ub_maps_get();
	bool host = !reader->list->reader;
	unsigned int n;
	int ret = maps ? vz_ub_refresh(maps) : 0;

	for (n = host; !ret && n < reader->list->count; n++) {
		vz_list_count_one(reader, n, maps, file, sum);
		if (fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	if (maps)
		vz_ub_maps_put(maps);
	if (!ret && host)
		vz_ub_of_host(&reader->sets[0], sum);
	return ret;
}

static int vz_list_read_counters(struct vz_list_reader *reader)
{
	struct vz_cgfile *file = vz_cgfile_new();
	struct vz_ub_set *sum = kzalloc_obj(*sum, GFP_KERNEL_ACCOUNT);
	int ret = -ENOMEM;

	reader->sets = kvcalloc(reader->list->count, sizeof(*reader->sets), GFP_KERNEL_ACCOUNT);
	if (file && sum && reader->sets)
		ret = vz_list_count(reader, file, sum);
	kfree(sum);
	vz_cgfile_free(file);
	return ret;
}

static int vz_list_begin(struct vz_list_reader *reader)
{
	struct vz_list *list;
	int ret;

	vz_list_forget(reader);
	list = vz_list_make();
	if (IS_ERR(list))
		return PTR_ERR(list);
	reader->list = list;
	ret = reader->format->counters ? vz_list_read_counters(reader) : 0;
	if (ret)
		vz_list_forget(reader);
	return ret;
}

static void *vz_list_at(struct vz_list_reader *reader, loff_t pos)
{
	if (!pos)
		return SEQ_START_TOKEN;
	return pos <= reader->list->count ? &reader->list->item[pos - 1] : NULL;
}

static void *vz_list_start(struct seq_file *m, loff_t *pos)
{
	struct vz_list_reader *reader = m->private;
	int ret = *pos ? 0 : vz_list_begin(reader);

	if (ret)
		return ERR_PTR(ret);
	if (!reader->list || reader->list->reader != vz_ct_of_reader())
		return NULL;
	return vz_list_at(reader, *pos);
}

static void *vz_list_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return vz_list_at(m->private, *pos);
}

static void vz_list_stop(struct seq_file *m, void *v)
{
}

static int vz_list_show(struct seq_file *m, void *v)
{
	struct vz_list_reader *reader = m->private;
	struct vz_list_item *item = v;
	bool host = !reader->list->reader && item == reader->list->item;
	struct vz_view view;

	if (v == SEQ_START_TOKEN) {
		if (reader->format->head)
			reader->format->head(m);
		return 0;
	}
	if (!host && !item->cgroup_id)
		return 0;
	if (reader->format->counters) {
		reader->format->counters(m, item->ctid, &reader->sets[item - reader->list->item]);
		return 0;
	}
	if (host) {
		reader->format->row(m, 0, NULL);
	} else if (vz_view_find(item->cgroup_id, &view)) {
		reader->format->row(m, item->ctid, &view);
		vz_view_put(&view);
	}
	return 0;
}

static const struct seq_operations vz_list_ops = {
	.start = vz_list_start,
	.next = vz_list_next,
	.stop = vz_list_stop,
	.show = vz_list_show,
};

/* Its release is seq_release_private() after vz_list_close(). */
int vz_list_open(struct file *file, const struct vz_list_format *format)
{
	struct vz_list_reader *reader;

	reader = __seq_open_private(file, &vz_list_ops, sizeof(*reader));
	if (!reader)
		return -ENOMEM;
	reader->format = format;
	return 0;
}

void vz_list_close(struct file *file)
{
	struct seq_file *m = file->private_data;

	vz_list_forget(m->private);
}
