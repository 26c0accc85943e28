// SPDX-License-Identifier: LGPL-2.1-or-later
// What a child will execute, laid out in memory before the clone.
#pragma once

#include <string>
#include <vector>

namespace vz {

class ExecPlan {
 public:
  explicit ExecPlan(std::vector<std::string> env);
  ExecPlan(ExecPlan&&) = default;
  ExecPlan(const ExecPlan&) = delete;

  // Tries exactly this file.
  void add(const std::string& file, const std::vector<std::string>& argv);
  // Tries argv[0] in every directory of `path` (colon-separated), or as it is when it contains a slash.
  void add_search(const std::vector<std::string>& argv, const std::string& path);

  // What is added from now on is tried only when nothing before was there.
  void next_choice() { ++choice_; }

  // In the child: executes the first candidate that works. Returns only on failure, with the errno of the
  // first candidate that was there and failed, else ENOENT.
  int run() const;

 private:
  struct Candidate {
    int choice;
    std::string file;
    std::vector<std::string> argv;
    std::vector<char*> argv_pointers;
  };
  std::vector<Candidate> candidates_;
  int choice_ = 0;
  std::vector<std::string> env_;
  std::vector<char*> env_pointers_;
};

// The value of KEY in a list of KEY=value, or `otherwise`.
std::string env_value(const std::vector<std::string>& env, const std::string& key, const std::string& otherwise);

}  // namespace vz
