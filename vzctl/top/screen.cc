// SPDX-License-Identifier: GPL-2.0-or-later
// The screen of vztop: a list of containers, and one container in detail.
#include <unistd.h>
#include <clocale>

#include <algorithm>
#include <chrono>

#include <curses.h>
#include <fmt/format.h>

#include "vzctl/vztop.h"

namespace vzctl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kHelp[] = {
    "vztop: keys",
    "",
    "  c CPU   m RAM   s swap   n processes   p pressure   i disk   w network   f failures",
    "  # number   a name                                       sort by it",
    "  r          reverse the order",
    "  up, down, page up, page down, home, end                 choose a container",
    "  enter      show it in detail; again, q or escape: back to the list",
    "  + -        slower, faster",
    "  space      read now",
    "  h ?        this page",
    "  q          quit",
    "",
    "CPU% is of one CPU. PSI columns: percent of the last 10 seconds in which some (mem, io) or all tasks (full)",
    "waited. FAIL: refusals of beancounters, OOM: killed processes, both since the last reading.",
};

enum class View { list, details, help };

// Curses for as long as this lives.
class Terminal {
 public:
  Terminal() {
    (void)std::setlocale(LC_ALL, "");
    screen_ = newterm(nullptr, stdout, stdin);
    if (!screen_) return;
    (void)cbreak();
    (void)noecho();
    (void)curs_set(0);
    (void)keypad(stdscr, TRUE);
    (void)set_escdelay(50);
    if (has_colors()) {
      (void)start_color();
      (void)use_default_colors();
      (void)init_pair(1, COLOR_RED, -1);
    }
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    if (!screen_) return;
    (void)endwin();
    delscreen(screen_);
  }
  bool usable() const { return screen_ != nullptr; }

 private:
  SCREEN* screen_ = nullptr;
};

class Top {
 public:
  Top(FaceCall& call, TopOptions options) : call_(call), options_(options) {}

  vz::Result<int> run() {
    now_ = VZ_TRY(read_top(call_.host));
    for (std::uint64_t round = 0;;) {
      draw();
      const int key = wait_key();
      if (key == ERR || key == ' ') {
        VZ_TRY(read());
        if (options_.rounds && ++round >= options_.rounds) return 0;
      } else if (!handle(key)) {
        return 0;
      }
    }
  }

 private:
  int wait_key() {
    const auto due = now_.time + options_.delay;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count();
    timeout(static_cast<int>(std::max<decltype(left)>(left, 0)));
    return getch();
  }

  vz::Result<> read() {
    TopReading next = VZ_TRY(read_top(call_.host));
    before_ = std::move(now_);
    now_ = std::move(next);
    return {};
  }

  // False: quit.
  bool handle(int key) {
    constexpr int kEscape = 27;
    if (view_ != View::list && (key == 'q' || key == kEscape || key == '\n' || key == KEY_ENTER)) {
      view_ = View::list;
      scroll_ = 0;
      return true;
    }
    if (key == 'q') return false;
    if (key == 'h' || key == '?') view_ = View::help;
    if (key == '+') options_.delay = std::min(options_.delay * 2, std::chrono::milliseconds(3600000));
    if (key == '-') options_.delay = std::max(options_.delay / 2, std::chrono::milliseconds(100));
    if (key == 'r') options_.reverse = !options_.reverse;
    for (auto [letter, sort] : kSortKeys)
      if (key == letter) options_.sort = sort;
    if ((key == '\n' || key == KEY_ENTER) && chosen_) view_ = View::details, scroll_ = 0;
    move_by(key);
    return true;
  }

  void move_by(int key) {
    const int page = std::max(1, LINES - kListTop - 1), all = static_cast<int>(rows_.size());
    const int step = key == KEY_UP      ? -1
                     : key == KEY_DOWN  ? 1
                     : key == KEY_PPAGE ? -page
                     : key == KEY_NPAGE ? page
                     : key == KEY_HOME  ? -1000000
                     : key == KEY_END   ? 1000000
                                        : 0;
    if (step == 0) return;
    if (view_ != View::list) {
      scroll_ = std::max(0, scroll_ + step);
      return;
    }
    if (all == 0) return;
    chosen_ = rows_[static_cast<size_t>(std::clamp(position() + step, 0, all - 1))].id;
  }

  // Of the chosen container in the list; it may have moved, or be gone.
  int position() const {
    for (size_t i = 0; i < rows_.size(); ++i)
      if (chosen_ && rows_[i].id == *chosen_) return static_cast<int>(i);
    return 0;
  }

  void draw() {
    (void)erase();
    if (view_ == View::help) draw_lines({std::begin(kHelp), std::end(kHelp)});
    if (view_ == View::details) draw_details();
    if (view_ == View::list) draw_list();
    (void)refresh();
  }

  void put_line(int y, const std::string& text) { (void)mvaddnstr(y, 0, text.c_str(), COLS); }

  void draw_lines(const std::vector<std::string>& lines) {
    const int most = std::max(0, static_cast<int>(lines.size()) - LINES);
    scroll_ = std::min(scroll_, most);
    for (int y = 0; y < LINES && static_cast<size_t>(y + scroll_) < lines.size(); ++y)
      put_line(y, lines[static_cast<size_t>(y + scroll_)]);
  }

  void draw_details() {
    const TopContainer* ct = chosen_ ? find_container(now_, *chosen_) : nullptr;
    if (!ct) return draw_lines({"This container does not run any more.", "", "q: back"});
    const double seconds = before_ ? std::chrono::duration<double>(now_.time - before_->time).count() : 0;
    draw_lines(top_details(*ct, before_ ? find_container(*before_, *chosen_) : nullptr, seconds));
  }

  void draw_list() {
    rows_ = top_rows(now_, before_ ? &*before_ : nullptr);
    sort_top(rows_, options_.sort, options_.reverse);
    if (!rows_.empty() && (!chosen_ || !find_container(now_, *chosen_))) chosen_ = rows_.front().id;
    auto summary = top_summary(now_);
    summary[0] += fmt::format("   by {}{}, every {:.3g} s   h: help", top_sort_name(options_.sort),
                              options_.reverse ? " reversed" : "", static_cast<double>(options_.delay.count()) / 1000);
    put_line(0, summary[0]);
    put_line(1, summary[1]);
    const Table table = top_table(rows_);
    draw_table(table);
  }

  void draw_table(const Table& table) {
    Table header = table;
    header.rows.clear();
    attron(A_REVERSE);
    std::string text = to_text(header, {});
    text.pop_back();
    text.resize(static_cast<size_t>(std::max(COLS, 0)), ' ');
    put_line(kListTop - 1, text);
    attroff(A_REVERSE);
    const int room = std::max(1, LINES - kListTop), at = position();
    const int first = at < room ? 0 : at - room + 1;
    for (int y = 0; y < room && static_cast<size_t>(first + y) < table.rows.size(); ++y)
      draw_row(kListTop + y, table, static_cast<size_t>(first + y), first + y == at);
  }

  // The line as a whole, then once more the cells that ask for attention.
  void draw_row(int y, const Table& table, size_t index, bool chosen) {
    std::string line;
    std::vector<std::pair<int, std::string>> alarming;
    for (size_t i = 0; i < table.columns.size(); ++i) {
      const Cell& cell = table.rows[index][i];
      const int width = table.columns[i].width;
      std::string text = width < 0 ? fmt::format("{:<{}}", cell.text, -width) : fmt::format("{:>{}}", cell.text, width);
      if (cell.tone == Tone::bad) alarming.emplace_back(static_cast<int>(line.size()), text);
      line += text + " ";
    }
    const attr_t base = chosen ? A_BOLD | A_UNDERLINE : A_NORMAL;
    (void)attr_on(base, nullptr);
    put_line(y, line);
    (void)attr_on(A_BOLD | static_cast<attr_t>(COLOR_PAIR(1)), nullptr);
    for (const auto& [x, text] : alarming)
      if (x < COLS) (void)mvaddnstr(y, x, text.c_str(), COLS - x);
    (void)attrset(A_NORMAL);
  }

  static constexpr int kListTop = 3;
  static constexpr std::pair<int, TopSort> kSortKeys[] = {
      {'c', TopSort::cpu},      {'m', TopSort::ram},  {'s', TopSort::swap},    {'n', TopSort::processes},
      {'p', TopSort::pressure}, {'i', TopSort::io},   {'w', TopSort::network}, {'f', TopSort::failures},
      {'#', TopSort::ctid},     {'a', TopSort::name},
  };

  FaceCall& call_;
  TopOptions options_;
  TopReading now_;
  std::optional<TopReading> before_;
  std::vector<TopRow> rows_;
  std::optional<vz::Ctid> chosen_;
  View view_ = View::list;
  int scroll_ = 0;
};

}  // namespace

vz::Result<int> run_vztop_screen(FaceCall& call) {
  if (call.options.has("--batch")) return run_vztop(call);
  TopOptions options = VZ_TRY(top_options(call.options));
  if (!isatty(0) || !isatty(1))
    return vz::fail(vz::Error(vz::Code::system, "not on a terminal").with_hint("use vztop -b"));
  Terminal terminal;
  if (!terminal.usable())
    return vz::fail(vz::Error(vz::Code::system, "this terminal is not known").with_hint("set TERM, or use vztop -b"));
  return Top(call, options).run();
}

}  // namespace vzctl
