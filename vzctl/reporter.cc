// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/reporter.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "vzctl/format.h"

namespace vzctl {
namespace {

using std::chrono::milliseconds;

volatile sig_atomic_t cancel_count = 0;

void on_cancel(int signal_number) {
  cancel_count = cancel_count + 1;
  if (cancel_count > 1) _exit(128 + signal_number);
  constexpr char kText[] = "Cancelling...\n";
  int saved = errno;
  (void)!write(STDERR_FILENO, kText, sizeof kText - 1);
  errno = saved;
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

// fmt::print throws when the stream is closed or full; a change must not end halfway because nobody listens.
void show(FILE* stream, std::string_view text) {
  (void)fwrite(text.data(), 1, text.size(), stream);
  (void)fflush(stream);
}

// Fault injection is for the project's tests only: it kills in the middle of a change.
const char* test_environment(const char* name) { return geteuid() == 0 ? getenv(name) : nullptr; }

std::string clock_text(std::chrono::seconds left) {
  auto s = left.count();
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

vz::Result<Color> parse_color(std::string_view word) {
  if (word == "auto") return Color::automatic;
  if (word == "always") return Color::always;
  if (word == "never") return Color::never;
  return vz::fail(vz::Code::bad_syntax, fmt::format("Bad value for --color: {} (auto, always or never)", word));
}

vz::Result<Progress> parse_progress(std::string_view word) {
  if (word == "auto") return Progress::automatic;
  if (word == "json") return Progress::json;
  if (word == "never") return Progress::never;
  return vz::fail(vz::Code::bad_syntax, fmt::format("Bad value for --progress: {} (auto, json or never)", word));
}

bool use_color(Color wish, int fd) {
  if (wish != Color::automatic) return wish == Color::always;
  const char* no_color = getenv("NO_COLOR");
  const char* term = getenv("TERM");
  return !(no_color && *no_color) && term && strcmp(term, "dumb") != 0 && isatty(fd);
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    auto u = static_cast<unsigned char>(c);
    if ((u < 0x20 && c != '\t' && c != '\n') || u == 0x7f) c = '?';
  }
  // C1 controls arrive as U+0080..U+009F.
  for (size_t i = 0; i + 1 < out.size(); ++i)
    if (static_cast<unsigned char>(out[i]) == 0xc2 && static_cast<unsigned char>(out[i + 1]) < 0xa0)
      out[i] = out[i + 1] = '?';
  return out;
}

std::string progress_line(std::string_view stage, std::uint64_t done, std::uint64_t total, milliseconds elapsed,
                          int width) {
  if (total == 0)
    return fmt::format("{} {}", stage, clock_text(std::chrono::duration_cast<std::chrono::seconds>(elapsed)));
  double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  std::string eta;
  if (part > 0 && part < 1 && elapsed >= milliseconds(500)) {
    auto left = static_cast<std::int64_t>(static_cast<double>(elapsed.count()) * (1 - part) / part / 1000);
    eta = fmt::format("  ETA {}", clock_text(std::chrono::seconds(left)));
  }
  std::string tail = fmt::format("{:4.0f}%{}", part * 100, eta);
  int room = width - static_cast<int>(stage.size() + tail.size()) - 4;
  if (room < 5) return fmt::format("{}{}", stage, tail);
  size_t cells = static_cast<size_t>(std::min(room, 40));
  size_t filled = static_cast<size_t>(part * static_cast<double>(cells));
  return fmt::format("{} [{}{}]{}", stage, std::string(filled, '#'), std::string(cells - filled, '.'), tail);
}

std::string progress_json(std::string_view stage, std::uint64_t done, std::uint64_t total) {
  return fmt::format(R"({{"stage":"{}","done":{},"total":{}}})", stage, done,
                     total == 0 ? "null" : std::to_string(total));
}

TerminalReporter::TerminalReporter(std::string program) : program_(std::move(program)) {
  for (const auto& [name, signal] : {std::pair{"VZ_FAULT", SIGKILL}, {"VZ_FAULT_STOP", SIGSTOP}}) {
    const char* fault = test_environment(name);
    if (!fault || !*fault) continue;
    std::string_view text = fault;
    size_t colon = text.rfind(':');
    faults_.push_back({signal, std::string(text.substr(0, colon)),
                       colon == text.npos ? 1 : std::max(1ul, strtoul(fault + colon + 1, nullptr, 10))});
  }
  if (const char* trace = test_environment("VZ_FAULT_TRACE"); trace && *trace)
    trace_fd_ = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

TerminalReporter::~TerminalReporter() {
  clear_bar();
  if (log_fd_ >= 0) close(log_fd_);
  if (trace_fd_ >= 0) close(trace_fd_);
}

void TerminalReporter::use_config(const vz::Config& global, bool verbosity_given) {
  if (auto verbose = global.get("VERBOSE"); verbose && !verbosity_given) verbosity_ = atoi(verbose->c_str());
  if (!global.yes_no("LOGGING").value_or(false)) return;
  if (auto level = global.get("LOG_LEVEL")) log_level_ = atoi(level->c_str());
  std::string path = global.get("LOGFILE").value_or("/var/log/vzctl.log");
  log_fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
  // An unwritable log must not stop a container from being stopped.
  if (log_fd_ < 0 && geteuid() == 0)
    say(Level::debug, fmt::format("Cannot open log file {}: {}", path, strerror(errno)));
}

void TerminalReporter::log(std::string_view text) {
  if (log_fd_ < 0) return;
  char stamp[64];
  time_t now = time(nullptr);
  tm local{};
  localtime_r(&now, &local);
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%T%z", &local);
  std::string line = id_ ? fmt::format("{} {} : CT {} : {}\n", stamp, program_, id_->value(), text)
                         : fmt::format("{} {} : {}\n", stamp, program_, text);
  // One write: lines of parallel vzctl do not mix.
  (void)!write(log_fd_, line.data(), line.size());
}

void TerminalReporter::say(Level level, std::string_view text) {
  std::string clean = printable(text);
  int rank = static_cast<int>(level);
  if (rank <= log_level_) log(clean);
  if (quiet_) return;
  clear_bar();
  if (rank < 0) {
    fflush(stdout);
    show(stderr,
         paint(clean, level == Level::error ? Tone::bad : Tone::plain, use_color(color_, STDERR_FILENO)) + "\n");
  } else if (verbosity_ >= rank) {
    show(stdout, clean + "\n");
  }
}

void TerminalReporter::error(const vz::Error& error) {
  // The lock's owner comes before the verdict, as it always did.
  bool hint_first = error.code() == vz::Code::locked;
  if (hint_first && !error.hint().empty()) say(Level::warning, error.hint());
  if (!error.message().empty()) say(Level::error, error.message());
  if (!hint_first && !error.hint().empty()) say(Level::warning, error.hint());
}

// Who asks for lines gets them also beside --json, which is silent otherwise.
bool TerminalReporter::shows_progress() const {
  return progress_ == Progress::json || (progress_ == Progress::automatic && !quiet_ && verbosity_ >= 0);
}

void TerminalReporter::progress(std::string_view stage, std::uint64_t done, std::uint64_t total) {
  if (!shows_progress()) return;
  const bool lines = progress_ == Progress::json;
  bool terminal = !lines && isatty(STDERR_FILENO);
  auto now = Clock::now();
  bool fresh = stage_ != stage;
  if (fresh) {
    stage_ = stage;
    stage_start_ = last_draw_ = now;
  }
  bool finished = total != 0 && done >= total;
  milliseconds pause = terminal ? milliseconds(100) : lines ? milliseconds(500) : milliseconds(5000);
  bool first = fresh && (terminal || lines);  // at once: the user sees that something goes on
  if (!finished && !first && now - last_draw_ < pause) return;
  last_draw_ = now;
  if (lines) return show(stderr, progress_json(stage, done, total) + "\n");
  auto elapsed = std::chrono::duration_cast<milliseconds>(now - stage_start_);
  if (terminal) {
    if (finished) return clear_bar();
    show(stderr, fmt::format("\r{}\x1b[K", progress_line(printable(stage), done, total, elapsed, terminal_width())));
    bar_shown_ = true;
  } else if (!finished) {
    say(Level::debug, progress_line(stage, done, total, elapsed, 60));
  }
}

void TerminalReporter::clear_bar() {
  if (!bar_shown_) return;
  show(stderr, "\r\x1b[K");
  bar_shown_ = false;
}

void TerminalReporter::step(std::string_view name) {
  if (trace_fd_ >= 0) {
    std::string line = std::string(name) + "\n";
    (void)!write(trace_fd_, line.data(), line.size());
  }
  for (auto& fault : faults_)
    if (fault.step == name && --fault.left == 0) kill(getpid(), fault.signal);
}

bool TerminalReporter::cancelled() const { return cancel_count > 0; }

void catch_cancel_signals() {
  struct sigaction action {};
  action.sa_handler = on_cancel;  // no SA_RESTART: a waiting call returns EINTR
  sigemptyset(&action.sa_mask);
  for (int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
}

}  // namespace vzctl
