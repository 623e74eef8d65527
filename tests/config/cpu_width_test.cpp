// SPDX-License-Identifier: Apache-2.0
//
// The width that a fabricated /proc and cgroup tree grants. Each tree is a directory of its own with
// `proc/self/cgroup`, `proc/self/mountinfo`, and what is mounted below `root`; the affinity mask is the real one.

#include "runtime/config/cpu_width.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

namespace fs = std::filesystem;
using weft::rt::cpu_width;
using weft::rt::cpu_width_roots;
using weft::rt::cpu_width_watch;

// A line of mountinfo for a hierarchy of v2, and for one of v1 with controller cpu.
std::string mount_v2(const std::string& root, const std::string& point) {
  return "30 23 0:26 " + root + " " + point + " rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n";
}
std::string mount_v1(const std::string& root, const std::string& point, const std::string& controllers = "cpu") {
  return "32 31 0:29 " + root + " " + point + " rw,relatime - cgroup cgroup rw," + controllers + "\n";
}

class cpu_width_test : public testing::Test {
 protected:
  cpu_width_test() {
    std::string name = (fs::temp_directory_path() / "weft_cpu_width_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
    base_ = name;
    write("proc/self/mountinfo", "");
  }
  ~cpu_width_test() override { fs::remove_all(base_); }

  void write(const std::string& path, const std::string& text) {
    const fs::path file = base_ / fs::path(path).relative_path();
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::trunc) << text;
  }

  void set_proc(const std::string& cgroup, const std::string& mountinfo) {
    write("proc/self/cgroup", cgroup);
    write("proc/self/mountinfo", mountinfo);
  }

  cpu_width_roots roots() const { return {(base_ / "proc").string(), (base_ / "root").string()}; }

  std::optional<std::uint64_t> quota() const { return cpu_width_watch(roots()).quota_width(); }

  // A tree of v2 with one cgroup, /a, whose cpu.max is `text`.
  std::optional<std::uint64_t> quota_of_v2(const std::string& text) {
    set_proc("0::/a\n", mount_v2("/", "/cg"));
    write("root/cg/a/cpu.max", text);
    return quota();
  }

  std::optional<std::uint64_t> quota_of_v1(const std::string& quota_us, const std::string& period_us) {
    set_proc("3:cpu,cpuacct:/a\n", mount_v1("/", "/cg/cpu", "cpu,cpuacct"));
    write("root/cg/cpu/a/cpu.cfs_quota_us", quota_us);
    write("root/cg/cpu/a/cpu.cfs_period_us", period_us);
    return quota();
  }

  fs::path base_;
};

TEST_F(cpu_width_test, quota_of_v2_is_rounded_up_and_at_least_1) {
  EXPECT_EQ(quota_of_v2("200000 100000\n"), 2u);
  EXPECT_EQ(quota_of_v2("200001 100000\n"), 3u);
  EXPECT_EQ(quota_of_v2("199999 100000\n"), 2u);
  EXPECT_EQ(quota_of_v2("150000 100000\n"), 2u);
  EXPECT_EQ(quota_of_v2("100000 100000\n"), 1u);
  EXPECT_EQ(quota_of_v2("25000 100000\n"), 1u);
  EXPECT_EQ(quota_of_v2("1 1000000\n"), 1u);
  EXPECT_EQ(quota_of_v2("0 100000\n"), 1u);
  EXPECT_EQ(quota_of_v2("50000 10000\n"), 5u);
  EXPECT_EQ(quota_of_v2("18446744073709551615 1\n"), 18446744073709551615u);
}

TEST_F(cpu_width_test, v2_without_a_usable_quota_is_no_limit) {
  for (const char* text : {"max 100000\n", "max\n", "", "\n", "100000\n", "100000 \n", "100000 0\n", "100000 max\n",
                           "x 100000\n", "-1 100000\n", "100000x 100000\n", "18446744073709551616 100000\n"}) {
    EXPECT_EQ(quota_of_v2(text), std::nullopt) << text;
  }
}

TEST_F(cpu_width_test, quota_of_v1_is_rounded_up_and_at_least_1) {
  EXPECT_EQ(quota_of_v1("200000\n", "100000\n"), 2u);
  EXPECT_EQ(quota_of_v1("200001\n", "100000\n"), 3u);
  EXPECT_EQ(quota_of_v1("50000\n", "100000\n"), 1u);
  EXPECT_EQ(quota_of_v1("50000\n", "10000\n"), 5u);
}

TEST_F(cpu_width_test, v1_without_a_usable_quota_is_no_limit) {
  EXPECT_EQ(quota_of_v1("-1\n", "100000\n"), std::nullopt);
  EXPECT_EQ(quota_of_v1("100000\n", "0\n"), std::nullopt);
  EXPECT_EQ(quota_of_v1("100000\n", ""), std::nullopt);
  fs::remove(base_ / "root/cg/cpu/a/cpu.cfs_period_us");
  EXPECT_EQ(quota(), std::nullopt);
}

TEST_F(cpu_width_test, the_tightest_of_all_ancestors_counts) {
  set_proc("0::/pod/container/task\n", mount_v2("/", "/cg"));
  write("root/cg/pod/container/task/cpu.max", "800000 100000\n");
  write("root/cg/pod/container/cpu.max", "max 100000\n");
  write("root/cg/pod/cpu.max", "300000 100000\n");
  EXPECT_EQ(quota(), 3u);
  write("root/cg/pod/container/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota(), 2u);
  write("root/cg/cpu.max", "100000 100000\n");
  EXPECT_EQ(quota(), 1u) << "the mount point itself is an ancestor too";
}

TEST_F(cpu_width_test, the_tightest_of_all_ancestors_counts_in_v1) {
  set_proc("3:cpu:/pod/container\n", mount_v1("/", "/cg/cpu"));
  write("root/cg/cpu/pod/container/cpu.cfs_quota_us", "-1\n");
  write("root/cg/cpu/pod/container/cpu.cfs_period_us", "100000\n");
  write("root/cg/cpu/pod/cpu.cfs_quota_us", "250000\n");
  write("root/cg/cpu/pod/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), 3u);
}

TEST_F(cpu_width_test, cgroups_beside_our_line_of_ancestors_do_not_count) {
  set_proc("0::/a/b\n", mount_v2("/", "/cg"));
  write("root/cg/a/b/cpu.max", "400000 100000\n");
  write("root/cg/a/b/child/cpu.max", "100000 100000\n");
  write("root/cg/a/sibling/cpu.max", "100000 100000\n");
  write("root/cpu.max", "100000 100000\n");
  EXPECT_EQ(quota(), 4u);
}

TEST_F(cpu_width_test, a_level_without_files_is_passed_over) {
  set_proc("0::/a/b/c\n", mount_v2("/", "/cg"));
  write("root/cg/a/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota(), 2u);
}

TEST_F(cpu_width_test, both_versions_count_where_both_are_mounted) {
  set_proc("9:name=systemd:/x\n3:cpu:/one\n0::/two\n", mount_v1("/", "/cg/cpu") + mount_v2("/", "/cg/unified"));
  write("root/cg/cpu/one/cpu.cfs_quota_us", "500000\n");
  write("root/cg/cpu/one/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), 5u);
  write("root/cg/unified/two/cpu.max", "300000 100000\n");
  EXPECT_EQ(quota(), 3u);
  write("root/cg/unified/two/cpu.max", "700000 100000\n");
  EXPECT_EQ(quota(), 5u);
}

TEST_F(cpu_width_test, only_controller_cpu_counts_in_v1) {
  const std::string files[] = {"cpuset", "cpuacct"};
  for (const std::string& controller : files) {
    set_proc("3:" + controller + ":/a\n", mount_v1("/", "/cg", controller));
    write("root/cg/a/cpu.cfs_quota_us", "100000\n");
    write("root/cg/a/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(quota(), std::nullopt) << controller;
  }
  set_proc("3:cpuset:/a\n", mount_v1("/", "/cg", "cpu"));
  EXPECT_EQ(quota(), std::nullopt) << "a path of another hierarchy";
  set_proc("3:cpu:/a\n", mount_v1("/", "/cg", "cpuset"));
  EXPECT_EQ(quota(), std::nullopt) << "a mount of another hierarchy";
  set_proc("3:cpu:/a\n", mount_v1("/", "/cg", "cpuacct,cpu"));
  EXPECT_EQ(quota(), 1u);
}

TEST_F(cpu_width_test, the_root_of_the_mount_is_cut_from_the_path) {
  set_proc("0::/docker/abc/inner\n", mount_v2("/docker/abc", "/cg"));
  write("root/cg/inner/cpu.max", "400000 100000\n");
  write("root/cg/cpu.max", "300000 100000\n");
  EXPECT_EQ(quota(), 3u);
  set_proc("0::/docker/abc\n", mount_v2("/docker/abc", "/cg"));
  EXPECT_EQ(quota(), 3u);
  set_proc("0::/\n", mount_v2("/", "/cg"));
  EXPECT_EQ(quota(), 3u);
}

TEST_F(cpu_width_test, a_mount_that_does_not_show_our_cgroup_is_passed_over) {
  write("root/cg/cpu.max", "100000 100000\n");
  write("root/cg/c/cpu.max", "100000 100000\n");
  write("root/cgc/cpu.max", "100000 100000\n");
  set_proc("0::/docker/abc\n", mount_v2("/docker/ab", "/cg"));
  EXPECT_EQ(quota(), std::nullopt) << "a prefix of the name is not an ancestor";
  set_proc("0::/docker/abc\n", mount_v2("/podman", "/cg"));
  EXPECT_EQ(quota(), std::nullopt);
}

TEST_F(cpu_width_test, a_cgroup_outside_of_the_namespace_is_no_limit) {
  write("root/cpu.max", "100000 100000\n");
  write("root/cg/cpu.max", "100000 100000\n");
  for (const char* path : {"/..", "/../a", "/../../a/b", "/a/../.."}) {
    set_proc("0::" + std::string(path) + "\n", mount_v2("/", "/cg"));
    EXPECT_EQ(quota(), std::nullopt) << path;
  }
  write("root/cg/..a/cpu.max", "200000 100000\n");
  write("root/cg/cpu.max", "max 100000\n");
  set_proc("0::/..a\n", mount_v2("/", "/cg"));
  EXPECT_EQ(quota(), 2u) << "a name that only begins with dots";
}

TEST_F(cpu_width_test, of_two_mounts_the_one_that_shows_more_ancestors_is_taken) {
  write("root/narrow/cpu.max", "400000 100000\n");
  write("root/wide/a/b/cpu.max", "400000 100000\n");
  write("root/wide/a/cpu.max", "200000 100000\n");
  const std::string narrow = mount_v2("/a/b", "/narrow");
  const std::string wide = mount_v2("/", "/wide");
  set_proc("0::/a/b\n", narrow + wide);
  EXPECT_EQ(quota(), 2u);
  set_proc("0::/a/b\n", wide + narrow);
  EXPECT_EQ(quota(), 2u);
}

TEST_F(cpu_width_test, escaped_mount_points_and_colons_in_paths_are_understood) {
  set_proc("0::/a:b\n", mount_v2("/", "/c\\040g\\134x"));
  write("root/c g\\x/a:b/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota(), 2u);
}

TEST_F(cpu_width_test, a_mount_without_optional_fields_is_understood) {
  set_proc("0::/a\n", "30 23 0:26 / /cg rw - cgroup2 none rw\n");
  write("root/cg/a/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota(), 2u);
}

TEST_F(cpu_width_test, whatever_is_missing_or_malformed_is_no_limit) {
  EXPECT_EQ(quota(), std::nullopt) << "no cgroup file";
  EXPECT_EQ(cpu_width_watch({"/nonexistent", ""}).quota_width(), std::nullopt);
  for (const char* cgroup : {"", "\n", "0\n", "0:\n", "0::\n", "3:cpu\n", ":::\n"}) {
    set_proc(cgroup, mount_v2("/", "/cg") + mount_v1("/", "/cg"));
    write("root/cg/a/cpu.max", "100000 100000\n");
    EXPECT_EQ(quota(), std::nullopt) << cgroup;
  }
  for (const char* mountinfo :
       {"", "\n", "30 23 0:26 / /cg rw\n", "30 - cgroup2\n", " - \n", "30 23 0:26 / /cg rw - tmpfs tmpfs rw\n"}) {
    set_proc("0::/a\n", mountinfo);
    EXPECT_EQ(quota(), std::nullopt) << mountinfo;
  }
}

TEST_F(cpu_width_test, a_watch_follows_a_quota_that_changes) {
  set_proc("0::/a\n", mount_v2("/", "/cg"));
  write("root/cg/a/cpu.max", "max 100000\n");
  const cpu_width_watch watch(roots());
  EXPECT_EQ(watch.quota_width(), std::nullopt);
  write("root/cg/a/cpu.max", "300000 100000\n");
  EXPECT_EQ(watch.quota_width(), 3u);
  write("root/cg/a/cpu.max", "20000 10000\n");
  EXPECT_EQ(watch.quota_width(), 2u);
  write("root/cg/a/cpu.max", "");
  EXPECT_EQ(watch.quota_width(), std::nullopt);
}

TEST_F(cpu_width_test, a_watch_keeps_its_files_open) {
  set_proc("0::/a\n", mount_v2("/", "/cg"));
  write("root/cg/a/cpu.max", "300000 100000\n");
  const cpu_width_watch watch(roots());
  fs::remove_all(base_ / "root");
  EXPECT_EQ(watch.quota_width(), 3u);
}

TEST_F(cpu_width_test, a_watch_gives_its_descriptors_back) {
  set_proc("0::/a\n", mount_v2("/", "/cg"));
  write("root/cg/a/cpu.max", "300000 100000\n");
  write("root/cg/a/cpu.stat", "nr_throttled 1\n");
  const auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto before = open_files();
  {
    const cpu_width_watch watch(roots());
    EXPECT_EQ(open_files(), before + 2);
  }
  EXPECT_EQ(open_files(), before);
}

TEST_F(cpu_width_test, throttling_is_counted_since_the_last_call) {
  set_proc("0::/pod/task\n", mount_v2("/", "/cg"));
  write("root/cg/pod/task/cpu.max", "300000 100000\n");
  write("root/cg/pod/cpu.max", "300000 100000\n");
  write("root/cg/pod/task/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 7\nthrottled_usec 1\n");
  write("root/cg/pod/cpu.stat", "nr_periods 9\nnr_throttled 100\n");
  cpu_width_watch watch(roots());
  EXPECT_EQ(watch.nr_throttled(), 0u) << "what was before the watch does not count";
  write("root/cg/pod/task/cpu.stat", "usage_usec 5\nnr_periods 12\nnr_throttled 9\nthrottled_usec 1\n");
  write("root/cg/pod/cpu.stat", "nr_periods 9\nnr_throttled 101\n");
  EXPECT_EQ(watch.nr_throttled(), 3u);
  EXPECT_EQ(watch.nr_throttled(), 0u);
}

TEST_F(cpu_width_test, a_cgroup_at_the_root_of_its_mount_is_counted_once) {
  for (const char* root : {"/", "/docker/abc"}) {
    set_proc(std::string("0::") + root + "\n", mount_v2(root, "/cg"));
    write("root/cg/cpu.max", "300000 100000\n");
    write("root/cg/cpu.stat", "nr_throttled 1\n");
    cpu_width_watch watch(roots());
    write("root/cg/cpu.stat", "nr_throttled 2\n");
    EXPECT_EQ(watch.nr_throttled(), 1u) << root;
  }
}

TEST_F(cpu_width_test, a_throttle_count_that_vanishes_or_falls_is_not_counted) {
  set_proc("3:cpu:/a\n", mount_v1("/", "/cg"));
  write("root/cg/a/cpu.cfs_quota_us", "100000\n");
  write("root/cg/a/cpu.cfs_period_us", "100000\n");
  write("root/cg/a/cpu.stat", "nr_periods 9\nnr_throttled 7\nthrottled_time 1\n");
  cpu_width_watch watch(roots());
  write("root/cg/a/cpu.stat", "");
  EXPECT_EQ(watch.nr_throttled(), 0u);
  write("root/cg/a/cpu.stat", "nr_periods 9\nnr_throttled 8\n");
  EXPECT_EQ(watch.nr_throttled(), 1u);
  write("root/cg/a/cpu.stat", "nr_periods 1\nnr_throttled 2\n");
  EXPECT_EQ(watch.nr_throttled(), 0u);
  write("root/cg/a/cpu.stat", "nr_periods 1\nnr_throttled 5\n");
  EXPECT_EQ(watch.nr_throttled(), 3u);
}

TEST_F(cpu_width_test, without_cpu_stat_nothing_was_throttled) {
  EXPECT_EQ(quota_of_v2("100000 100000\n"), 1u);
  cpu_width_watch watch(roots());
  EXPECT_EQ(watch.nr_throttled(), 0u);
}

TEST_F(cpu_width_test, width_is_the_lesser_of_mask_and_quota) {
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
  const int cpus = CPU_COUNT(&mine);
  EXPECT_EQ(cpu_width({"/nonexistent", ""}), cpus);
  quota_of_v2("max 100000\n");
  EXPECT_EQ(cpu_width(roots()), cpus);
  quota_of_v2("100000 100000\n");
  EXPECT_EQ(cpu_width(roots()), 1);
  quota_of_v2("18446744073709551615 1\n");
  EXPECT_EQ(cpu_width(roots()), cpus);
}

TEST_F(cpu_width_test, width_follows_the_mask_of_the_calling_thread) {
  const cpu_width_watch watch({"/nonexistent", ""});
  const int before = watch.width();
  int narrowed = 0;
  std::thread([&] {
    cpu_set_t mine;
    ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
    int first = 0;
    while (!CPU_ISSET(first, &mine)) ++first;
    CPU_ZERO(&mine);
    CPU_SET(first, &mine);
    ASSERT_EQ(sched_setaffinity(0, sizeof mine, &mine), 0);
    narrowed = watch.width();
  }).join();
  EXPECT_EQ(narrowed, 1);
  EXPECT_EQ(watch.width(), before);
}

TEST_F(cpu_width_test, the_machine_itself_grants_at_least_1) {
  EXPECT_GE(cpu_width(), 1);
  EXPECT_LE(cpu_width(), 1024);
}

}  // namespace
