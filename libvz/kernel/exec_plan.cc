// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/exec_plan.h"

#include <unistd.h>

#include <cerrno>

#include "libvz/base/text.h"

namespace vz {

namespace {

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (auto& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

ExecPlan::ExecPlan(std::vector<std::string> env) : env_(std::move(env)), env_pointers_(pointers(env_)) {}

void ExecPlan::add(const std::string& file, const std::vector<std::string>& argv) {
  Candidate& c = candidates_.emplace_back();
  c.choice = choice_;
  c.file = file;
  c.argv = argv;
  // Short strings live inside the vector's elements: the pointers are taken again when candidates_ has moved.
  for (auto& each : candidates_) each.argv_pointers = pointers(each.argv);
}

void ExecPlan::add_search(const std::vector<std::string>& argv, const std::string& path) {
  if (argv.empty() || argv[0].empty()) return;
  if (argv[0].find('/') != std::string::npos) return add(argv[0], argv);
  for (const auto& dir : split(path, ':'))
    if (!dir.empty()) add(dir + "/" + argv[0], argv);
}

int ExecPlan::run() const {
  int first = ENOENT;
  int choice = 0;
  for (const auto& c : candidates_) {
    if (c.choice != choice && first != ENOENT) break;
    choice = c.choice;
    ::execve(c.file.c_str(), c.argv_pointers.data(), env_pointers_.data());
    if (errno != ENOENT && errno != ENOTDIR && first == ENOENT) first = errno;
  }
  return first;
}

std::string env_value(const std::vector<std::string>& env, const std::string& key, const std::string& otherwise) {
  for (const auto& entry : env)
    if (entry.size() > key.size() && entry[key.size()] == '=' && entry.compare(0, key.size(), key) == 0)
      return entry.substr(key.size() + 1);
  return otherwise;
}

}  // namespace vz
