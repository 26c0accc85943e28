// SPDX-License-Identifier: GPL-2.0-or-later
// Where messages, progress and steps of the library go: terminal, log file, fault injection.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/reporter.h>

namespace vzctl {

enum class Color { automatic, always, never };
vz::Result<Color> parse_color(std::string_view word);
// NO_COLOR, TERM=dumb and "not a terminal" switch `automatic` off.
bool use_color(Color wish, int fd);

// How far a long action is: for people on a terminal, as lines for programs, or not at all.
enum class Progress { automatic, json, never };
vz::Result<Progress> parse_progress(std::string_view word);

// Text from outside must not drive the terminal: control characters become '?'.
std::string printable(std::string_view text);

// A progress line: `stage [####....] 45%  12.3 MiB/s  ETA 0:07`.
std::string progress_line(std::string_view stage, std::uint64_t done, std::uint64_t total,
                          std::chrono::milliseconds elapsed, int width);
// {"stage":"copy","done":5,"total":null}; total 0 is unknown.
std::string progress_json(std::string_view stage, std::uint64_t done, std::uint64_t total);

class TerminalReporter final : public vz::Reporter {
 public:
  explicit TerminalReporter(std::string program);
  ~TerminalReporter() override;
  TerminalReporter(const TerminalReporter&) = delete;
  TerminalReporter& operator=(const TerminalReporter&) = delete;

  // Messages above the verbosity are not shown; -1 leaves stdout to data; quiet() mutes the terminal.
  void set_verbosity(int verbosity) { verbosity_ = verbosity; }
  int verbosity() const { return verbosity_; }
  void set_quiet() { quiet_ = true; }
  void set_color(Color color) { color_ = color; }
  Color color() const { return color_; }
  void set_progress(Progress progress) { progress_ = progress; }
  // LOGGING, LOGFILE, LOG_LEVEL and VERBOSE of vz.conf.
  void use_config(const vz::Config& global, bool verbosity_given);
  void set_ctid(vz::Ctid id) { id_ = id; }

  void say(Level level, std::string_view text) override;
  void progress(std::string_view stage, std::uint64_t done, std::uint64_t total) override;
  void step(std::string_view name) override;
  bool cancelled() const override;

  // The message and, on the next line, what to do.
  void error(const vz::Error& error);

 private:
  void log(std::string_view text);
  void clear_bar();
  bool shows_progress() const;

  using Clock = std::chrono::steady_clock;
  std::string program_;
  int verbosity_ = 0;
  bool quiet_ = false;
  Color color_ = Color::automatic;
  Progress progress_ = Progress::automatic;
  std::optional<vz::Ctid> id_;
  int log_fd_ = -1;
  int log_level_ = 0;

  std::string stage_;  // of the bar that is on the screen
  Clock::time_point stage_start_, last_draw_;
  bool bar_shown_ = false;

  // A signal that it sends to itself.
  struct Fault {
    int signal = 0;
    std::string step;
    std::uint64_t left = 0;  // times until then
  };
  std::vector<Fault> faults_;  // VZ_FAULT, VZ_FAULT_STOP
  int trace_fd_ = -1;          // VZ_FAULT_TRACE
};

// SIGINT and SIGTERM during a locked action print "Cancelling..." and make Reporter::cancelled() true; the second
// one kills at once (the next call repairs).
void catch_cancel_signals();

}  // namespace vzctl
