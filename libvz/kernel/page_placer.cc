// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/page_placer.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <deque>
#include <iterator>
#include <list>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "libvz/kernel/fd_passing.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/job.h"
#include "libvz/kernel/page_tracker.h"
#include "libvz/kernel/remote_task.h"
#include "libvz/kernel/signal.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

namespace vz {

namespace {

constexpr const char* kDevice = "/dev/userfaultfd";
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kAround = 16, kAtOnce = 64;  // pages: for who waits, for nobody
constexpr auto kNoMemoryPause = std::chrono::milliseconds(10);
constexpr int kNoMemoryTries = 3000;
constexpr char kTaken = 't', kDone = 'd';
constexpr std::uint64_t kFeatures =
    UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;

// With a copy of each descriptor: while it has them, who touches a missing page waits.
int guard(UniqueFd line, const UniqueFd& init) {
  std::vector<UniqueFd> kept;
  for (;;) {
    char what = 0;
    UniqueFd fd;
    if (receive_value_with_fd(line.get(), &what, &fd) <= 0) break;
    if (what == kDone) return 0;
    kept.push_back(std::move(fd));
  }
  (void)send_signal(init, SIGKILL);
  pollfd ended{init.get(), POLLIN, 0};
  while (poll(&ended, 1, -1) < 0 && errno == EINTR) {
  }
  return 1;
}

// One address space, of a process or of what it has forked.
struct Space {
  UniqueFd uffd;
  PendingPages pending;
  std::deque<std::uint64_t> waiting{};  // pages that somebody has touched
  bool gone = false;
};

class Placer {
 public:
  Placer(const std::vector<UniqueFd>& files, UniqueFd guard) : files_(files), guard_(std::move(guard)) {}
  Result<> arm(const LateProcess& process, const UniqueFd& device);
  Result<> place_all();
  void done() { tell(kDone, -1); }

 private:
  void tell(char what, int fd) const;
  Result<> add(UniqueFd uffd, PendingPages pending);
  Result<> read_events(Space& space);
  Result<> on_event(Space& space, const uffd_msg& event);
  Result<> serve(Space& space);
  Result<> place(Space& space, const LateRun& run, bool* later);
  Result<> place_zero(Space& space, std::uint64_t address, bool* later);
  Result<> failed(Space& space, int error, const char* what, bool* later);

  const std::vector<UniqueFd>& files_;
  UniqueFd guard_;
  std::list<Space> spaces_;
  std::string buffer_ = std::string(kAtOnce * kPage, '\0');
  int no_memory_ = 0;
};

void Placer::tell(char what, int fd) const { (void)send_value_with_fd(guard_.get(), what, fd); }

Result<> Placer::add(UniqueFd uffd, PendingPages pending) {
  tell(kTaken, uffd.get());
  spaces_.push_back({std::move(uffd), std::move(pending)});
  return {};
}

// What a call in the other process needs memory for.
class Scratch {
 public:
  static Result<Scratch> make(RemoteTask& task, pid_t pid) {
    UniqueFd memory = VZ_TRY(open_file(fmt::format("/proc/{}/mem", pid), O_RDWR));
    const long at =
        VZ_TRY(task.call(SYS_mmap, {0, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0UL, 0}));
    return Scratch(task, std::move(memory), static_cast<std::uint64_t>(at));
  }
  Scratch(Scratch&& other) noexcept
      : task_(other.task_), memory_(std::move(other.memory_)), at_(std::exchange(other.at_, 0)) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (at_) (void)task_.call(SYS_munmap, {at_, kPage});
  }
  std::uint64_t address(std::uint64_t offset) const { return at_ + offset; }
  template <class T>
  Result<> put(std::uint64_t offset, const T& value) {
    if (pwrite(memory_.get(), &value, sizeof value, static_cast<off_t>(at_ + offset)) != ssize_t{sizeof value})
      return fail_errno("write into a process");
    return {};
  }
  template <class T>
  Result<T> get(std::uint64_t offset) {
    T value{};
    if (pread(memory_.get(), &value, sizeof value, static_cast<off_t>(at_ + offset)) != ssize_t{sizeof value})
      return fail_errno("read from a process");
    return value;
  }

 private:
  Scratch(RemoteTask& task, UniqueFd memory, std::uint64_t at) : task_(task), memory_(std::move(memory)), at_(at) {}
  RemoteTask& task_;
  UniqueFd memory_;
  std::uint64_t at_;
};

// Closed in the other process whatever happens.
class ThereFd {
 public:
  ThereFd(RemoteTask& task, long fd) : task_(task), fd_(static_cast<unsigned long>(fd)) {}
  ThereFd(const ThereFd&) = delete;
  ThereFd& operator=(const ThereFd&) = delete;
  ~ThereFd() { (void)task_.call(SYS_close, {fd_}); }
  unsigned long get() const { return fd_; }

 private:
  RemoteTask& task_;
  unsigned long fd_;
};

// Of a descriptor that is put into the other process, its number there.
Result<long> give_fd(RemoteTask& task, Scratch& scratch, int fd) {
  constexpr std::uint64_t kEnds = 0, kByte = 64, kVector = 128, kHeader = 256, kControl = 512;
  VZ_TRY(task.call(SYS_socketpair, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, scratch.address(kEnds)}));
  const int first = VZ_TRY(scratch.get<int>(kEnds)), second = VZ_TRY(scratch.get<int>(kEnds + sizeof(int)));
  const ThereFd near(task, first), far(task, second);
  UniqueFd ours = VZ_TRY(task.fetch(first));
  if (send_value_with_fd(ours.get(), '\0', fd) < 0) return fail_errno("send a descriptor");
  const auto pointer = [&](std::uint64_t offset) { return reinterpret_cast<void*>(scratch.address(offset)); };
  iovec there{pointer(kByte), 1};
  msghdr received{};
  received.msg_iov = static_cast<iovec*>(pointer(kVector));
  received.msg_iovlen = 1;
  received.msg_control = pointer(kControl);
  received.msg_controllen = CMSG_SPACE(sizeof(int));
  VZ_TRY(scratch.put(kVector, there));
  VZ_TRY(scratch.put(kHeader, received));
  VZ_TRY(task.call(SYS_recvmsg, {far.get(), scratch.address(kHeader), MSG_CMSG_CLOEXEC | MSG_DONTWAIT}));
  // Zeros, unless the kernel has written there.
  if (VZ_TRY(scratch.get<int>(kControl + offsetof(cmsghdr, cmsg_type))) != SCM_RIGHTS)
    return fail(Code::restore, "a descriptor did not arrive");
  return VZ_TRY(scratch.get<int>(kControl + CMSG_LEN(0)));
}

// A userfaultfd(2) of its memory. In its own name it would get none that waits for what the kernel touches: only the
// host's root may have that, or who has the device open.
Result<UniqueFd> take_uffd(RemoteTask& task, pid_t pid, const UniqueFd& device) {
  Scratch scratch = VZ_TRY(Scratch::make(task, pid));
  const ThereFd given(task, VZ_TRY(give_fd(task, scratch, device.get())));
  const ThereFd made(task, VZ_TRY(task.call(SYS_ioctl, {given.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK})));
  return task.fetch(static_cast<long>(made.get()));
}

// What is there already has no contents: a huge page around one that was restored, say.
Result<> make_empty(RemoteTask& task, pid_t pid, const PageRange& range, const std::vector<LateRun>& runs) {
  std::vector<PageRange> full;
  auto run = runs.begin();
  VZ_TRY(visit_populated(pid, range, [&](const PageRange& there) {
    while (run != runs.end() && run->end() <= there.begin) ++run;
    for (auto here = run; here != runs.end() && here->address < there.end; ++here)
      full.push_back({std::max(here->address, there.begin), std::min(here->end(), there.end)});
    return Result<>();
  }));
  for (const auto& part : full) VZ_TRY(task.call(SYS_madvise, {part.begin, part.end - part.begin, MADV_DONTNEED}));
  return {};
}

Result<> enable(const UniqueFd& uffd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatures;
  if (ioctl(uffd.get(), UFFDIO_API, &api) != 0)
    return fail(Error::from_errno(errno, "userfaultfd").with_code(Code::unsupported));
  return {};
}

Result<> watch(const UniqueFd& uffd, const PageRange& range) {
  uffdio_register request{};
  request.range = {range.begin, range.end - range.begin};
  request.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (ioctl(uffd.get(), UFFDIO_REGISTER, &request) != 0)
    return fail_errno(fmt::format("watch memory from {:#x} to {:#x}", range.begin, range.end));
  return {};
}

// What is pending in each mapping, from the first page of it to the last.
Result<std::vector<PageRange>> ranges_to_watch(pid_t pid, const std::vector<LateRun>& runs) {
  std::vector<PageRange> out;
  auto run = runs.begin();
  for (const auto& mapping : VZ_TRY(anonymous_memory(pid))) {
    if (run == runs.end()) break;
    if (run->address >= mapping.end) continue;
    PageRange range{run->address, run->address};
    while (run != runs.end() && run->address >= mapping.begin && run->end() <= mapping.end) range.end = (run++)->end();
    if (range.end > range.begin) out.push_back(range);
  }
  if (run != runs.end())
    return fail(Code::restore, fmt::format("process {} has no memory at {:#x}", pid, run->address));
  return out;
}

Result<> Placer::arm(const LateProcess& process, const UniqueFd& device) {
  auto task = VZ_TRY(RemoteTask::stop(process.pid));
  UniqueFd uffd = VZ_TRY(take_uffd(task, process.pid, device));
  VZ_TRY(enable(uffd));
  PendingPages pending;
  for (const auto& run : process.runs) pending.add(run);
  for (const auto& range : VZ_TRY(ranges_to_watch(process.pid, process.runs))) {
    VZ_TRY(make_empty(task, process.pid, range, process.runs));
    VZ_TRY(watch(uffd, range));
  }
  return add(std::move(uffd), std::move(pending));
}

// What the error says of an attempt to put a page somewhere. `later`: an event says what has changed there, or memory
// is short.
Result<> Placer::failed(Space& space, int error, const char* what, bool* later) {
  if (error == ESRCH) {
    space.gone = true;
    space.pending.clear();
    return {};
  }
  *later = error == EAGAIN || error == ENOMEM;
  if (error == EAGAIN) return {};
  if (error != ENOMEM || ++no_memory_ > kNoMemoryTries) return fail(Error::from_errno(error, what));
  std::this_thread::sleep_for(kNoMemoryPause);
  return {};
}

Result<> Placer::place(Space& space, const LateRun& run, bool* later) {
  const std::size_t bytes = run.pages * kPage;
  const auto got = pread(files_[run.file].get(), buffer_.data(), bytes, static_cast<off_t>(run.offset));
  if (got != static_cast<ssize_t>(bytes)) return fail(Code::io, "a page cannot be read any more");
  uffdio_copy copy{};
  copy.dst = run.address;
  copy.src = reinterpret_cast<std::uint64_t>(buffer_.data());
  copy.len = bytes;
  const int error = ioctl(space.uffd.get(), UFFDIO_COPY, &copy) == 0 ? 0 : errno;
  // It takes no more than one mapping at a time, and mprotect(2) splits them without a word.
  if (error == ENOENT && run.pages > 1) return place(space, *space.pending.at(run.address, 1), later);
  if (copy.copy > 0) space.pending.drop(run.address, run.address + static_cast<std::uint64_t>(copy.copy));
  if (error != 0) return failed(space, error, "put a page into place", later);
  no_memory_ = 0;
  return {};
}

Result<> Placer::place_zero(Space& space, std::uint64_t address, bool* later) {
  uffdio_zeropage zero{};
  zero.range = {address, kPage};
  if (ioctl(space.uffd.get(), UFFDIO_ZEROPAGE, &zero) == 0) return {};
  // Somebody else's fault was served, or the mapping is gone: it looks again.
  if (errno != EEXIST && errno != ENOENT) return failed(space, errno, "put a page of zeros into place", later);
  uffdio_range range{address, kPage};
  (void)ioctl(space.uffd.get(), UFFDIO_WAKE, &range);
  return {};
}

// What the kernel says before it lets the thread go on that did it.
Result<> Placer::on_event(Space& space, const uffd_msg& event) {
  switch (event.event) {
    case UFFD_EVENT_PAGEFAULT:
      space.waiting.push_back(event.arg.pagefault.address / kPage * kPage);
      return {};
    case UFFD_EVENT_FORK:
      // Pages that both have not got yet are no longer one page that both have.
      return add(UniqueFd(static_cast<int>(event.arg.fork.ufd)), space.pending);
    case UFFD_EVENT_REMAP:
      space.pending.move(event.arg.remap.from, event.arg.remap.to, event.arg.remap.len);
      return {};
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP:
      space.pending.drop(event.arg.remove.start, event.arg.remove.end);
      return {};
    default:
      return fail(Code::system, fmt::format("userfaultfd says {:#x}", unsigned{event.event}));
  }
}

// One at a time: what is done for one must see the address space before the next.
Result<> Placer::read_events(Space& space) {
  while (!space.gone) {
    uffd_msg event{};
    const auto got = read(space.uffd.get(), &event, sizeof event);
    if (got == ssize_t{sizeof event}) {
      VZ_TRY(on_event(space, event));
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else {
      return got < 0 && errno == EAGAIN ? Result<>() : fail_errno("userfaultfd");
    }
  }
  return {};
}

Result<> Placer::serve(Space& space) {
  VZ_TRY(read_events(space));
  while (!space.gone && !space.waiting.empty()) {
    const auto address = space.waiting.front();
    bool later = false;
    if (auto run = space.pending.at(address, kAround))
      VZ_TRY(place(space, *run, &later));
    else
      VZ_TRY(place_zero(space, address, &later));
    // It waits on until what has changed was read.
    if (later) return {};
    space.waiting.pop_front();
  }
  return {};
}

Result<> Placer::place_all() {
  for (;;) {
    // A fork adds to the list while it is walked, at its end.
    for (auto& space : spaces_)
      if (!space.gone) VZ_TRY(serve(space));
    auto next = std::find_if(spaces_.begin(), spaces_.end(), [](const Space& s) { return !s.pending.empty(); });
    if (next == spaces_.end()) return {};
    bool later = false;
    VZ_TRY(place(*next, *next->pending.first(kAtOnce), &later));
  }
}

// Nobody is to wait for us at the other end of a pipe, and no lock but the container's is to be held.
void close_others(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  int from = 0;
  for (int fd : keep) {
    if (fd > from) (void)syscall(SYS_close_range, from, fd - 1, 0);
    from = fd + 1;
  }
  (void)syscall(SYS_close_range, from, ~0U, 0);
}

Result<> arm_all(Placer& placer, const std::vector<LateProcess>& processes) {
  UniqueFd device = VZ_TRY(open_file(kDevice, O_RDWR | O_CLOEXEC));
  for (const auto& process : processes)
    VZ_TRY_CTX(placer.arm(process, device), fmt::format("memory of process {}", process.pid));
  return {};
}

int run(const std::vector<UniqueFd>& files, const std::vector<LateProcess>& processes, UniqueFd to_guard,
        UniqueFd report) {
  Placer placer(files, std::move(to_guard));
  auto armed = arm_all(placer, processes);
  const std::string said = armed ? std::string(1, kDone) : armed.error().message();
  const bool heard = write_all(report.get(), said).has_value();
  report.reset();
  // Not armed, nothing of it will run: the caller sees to that, or CRIU, when the caller has died.
  if (!armed || !heard || placer.place_all()) {
    placer.done();
    return 0;
  }
  return 1;
}

}  // namespace

Result<> check_page_placing() {
  auto able = []() -> Result<> {
    UniqueFd device = VZ_TRY(open_file(kDevice, O_RDWR | O_CLOEXEC));
    UniqueFd uffd(ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
    if (!uffd) return fail_errno(kDevice);
    return enable(uffd);
  }();
  if (able) return {};
  return fail(Error(Code::unsupported, "memory cannot be put into place late: " + able.error().message())
                  .with_hint("it takes Linux 6.1 with CONFIG_USERFAULTFD there; without --lazy it can come"));
}

Result<PagePlacer> PagePlacer::start(const std::vector<UniqueFd>& files, const std::vector<LateProcess>& processes,
                                     const UniqueFd& init, int lock) {
  int ends[2], line[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return fail_errno("socketpair");
  UniqueFd guards(ends[0]), placers(ends[1]);
  if (pipe2(line, O_CLOEXEC) < 0) return fail_errno("pipe");
  UniqueFd ours(line[0]), theirs(line[1]);
  auto job = VZ_TRY(start_job([&] {
    (void)setsid();
    (void)write_kernel_file("/proc/self/oom_score_adj", "-1000");
    const pid_t guardian = fork();
    if (guardian < 0) return 1;
    if (guardian == 0) {
      close_others({guards.get(), init.get(), lock});
      return guard(std::move(guards), init);
    }
    std::vector<int> keep{placers.get(), theirs.get(), lock};
    for (const auto& file : files) keep.push_back(file.get());
    close_others(std::move(keep));
    return run(files, processes, std::move(placers), std::move(theirs));
  }));
  theirs.reset();
  auto said = read_fd(ours.get(), kPage);
  if (said && *said == std::string(1, kDone)) return PagePlacer(std::move(job));
  (void)finish_job(job);
  return fail(Code::restore, said && !said->empty() ? *said : "the process that places memory has ended");
}

PagePlacer::~PagePlacer() {
  if (job_) (void)finish_job(job_);
}

}  // namespace vz
