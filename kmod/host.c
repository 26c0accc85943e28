// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's own files of /proc, read through a mount that nobody else sees.
 * What no exported function tells is text there: the flags of a CPU, the
 * size of all swap, and everything for a reader who is in no container.
 */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/workqueue.h>

#include "internal.h"

/* /proc/cpuinfo of a thousand CPUs has 2 MB. */
#define VZ_HOST_TEXT_MAX	SZ_16M

static struct vfsmount *vz_proc;
static const struct cred *vz_cred;

/* In a kernel thread: the mount belongs to the pid namespace of whoever makes it. */
static void vz_host_mount(struct work_struct *work)
{
	struct file_system_type *type = get_fs_type("proc");

	vz_proc = type ? kern_mount(type) : ERR_PTR(-ENODEV);
}

int vz_host_init(void)
{
	struct work_struct work;

	vz_cred = prepare_kernel_cred(&init_task);
	if (!vz_cred)
		return -ENOMEM;
	INIT_WORK_ONSTACK(&work, vz_host_mount);
	schedule_work(&work);
	flush_work(&work);
	destroy_work_on_stack(&work);
	if (IS_ERR(vz_proc)) {
		put_cred(vz_cred);
		return PTR_ERR(vz_proc);
	}
	return 0;
}

void vz_host_exit(void)
{
	kern_unmount(vz_proc);
	put_cred(vz_cred);
}

/* With the kernel's credentials: a reader's confinement knows nothing of this mount. */
static struct file *vz_host_open(const char *name)
{
	struct path root = { .mnt = vz_proc, .dentry = vz_proc->mnt_root };
	const struct cred *old = override_creds(vz_cred);
	struct file *file = file_open_root(&root, name, O_RDONLY, 0);

	revert_creds(old);
	return file;
}

/* Not kernel_read(): /proc/swaps has only the older method, on the same seq_file. */
static ssize_t vz_host_read(struct file *file, char *text, size_t size)
{
	struct kvec kvec = { .iov_base = text, .iov_len = size };
	struct iov_iter iter;
	struct kiocb kiocb;
	ssize_t got;
	size_t sum = 0;

	init_sync_kiocb(&kiocb, file);
	iov_iter_kvec(&iter, ITER_DEST, &kvec, 1, size);
	while (iov_iter_count(&iter)) {
		got = seq_read_iter(&kiocb, &iter);
		if (got < 0)
			return got;
		if (!got)
			break;
		sum += got;
	}
	return sum;
}

/* Reads all of a file into a buffer that is large enough for it; -EFBIG to try a larger one. */
static int vz_host_fill(const char *name, char *text, size_t size)
{
	struct file *file = vz_host_open(name);
	ssize_t got;

	if (IS_ERR(file))
		return PTR_ERR(file);
	got = vz_host_read(file, text, size);
	fput(file);
	if (got < 0)
		return got;
	if (got == size)
		return -EFBIG;
	text[got] = '\0';
	return 0;
}

/**
 * vz_host_text() - a file of the host's /proc
 * @name: of the file
 *
 * Return: its text, to be freed with kvfree(), or an error.
 */
char *vz_host_text(const char *name)
{
	size_t size;
	char *text;
	int ret;

	for (size = SZ_8K; size <= VZ_HOST_TEXT_MAX; size *= 4) {
		text = kvmalloc(size, GFP_KERNEL_ACCOUNT);
		if (!text)
			return ERR_PTR(-ENOMEM);
		ret = vz_host_fill(name, text, size);
		if (!ret)
			return text;
		kvfree(text);
		if (ret != -EFBIG)
			return ERR_PTR(ret);
	}
	return ERR_PTR(-EFBIG);
}

/* The number behind a key at the start of a line, 0 for none. */
unsigned long vz_host_value(const char *text, const char *key)
{
	size_t len = strlen(key);
	unsigned long value;

	while (text && *text) {
		if (!strncmp(text, key, len))
			return sscanf(text + len, "%lu", &value) == 1 ? value : 0;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return 0;
}
