// SPDX-License-Identifier: Apache-2.0
//
// The same work as ../../*_bench.cpp in Go: same rows, same command line (--w N, --quick, ROW...), same output
// (row w value unit), the same operation counts, and the median of five repetitions after one to warm up.
// Each invocation is meant to run one row; the driver interleaves them with ours.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"time"
)

type context struct {
	row   string
	w     int
	quick bool
}

func (c context) scale(full int) int {
	if c.quick {
		return max1(full / 10)
	}
	return full
}

func max1(n int) int {
	if n < 1 {
		return 1
	}
	return n
}

func (c context) report(row string, value float64, unit string) {
	fmt.Printf("%s %d %.6g %s\n", row, c.w, value, unit)
}

func medianOf(work func()) float64 {
	work()
	times := []float64{}
	for i := 0; i < 5; i++ {
		start := time.Now()
		work()
		times = append(times, float64(time.Since(start).Nanoseconds()))
	}
	sort.Float64s(times)
	return times[2]
}

func (c context) measure(operations int, work func()) {
	c.report(c.row, medianOf(work)/float64(operations), "ns")
}

func (c context) measureMs(work func()) {
	c.report(c.row, medianOf(work)/1e6, "ms")
}

var rows = map[string]func(context){
	"yield_2":          func(c context) { yieldAmong(c, 2) },
	"yield_1000":       func(c context) { yieldAmong(c, 1000) },
	"spawn":            spawn,
	"skynet":           skynet,
	"skynet_join":      skynet, // the Go way of doing it stands against both of ours
	"fib30_cut12":      func(c context) { fib(c, 12) },
	"fib30_cut2":       func(c context) { fib(c, 2) },
	"pingpong":         func(c context) { pingpong(c, 1000000, false) },
	"pingpong_threads": func(c context) { pingpong(c, 20000, true) },
	"ring_1000":        ring,
	"chan128_1_1":      func(c context) { buffered(c, 1, 1) },
	"chan128_4_4":      func(c context) { buffered(c, 4, 4) },
	"mutex_8":          mutex,
	"select_2":         func(c context) { selectTwo(c, 0) },
	"select_2_cap128":  func(c context) { selectTwo(c, 128) },
	"sleep_100us":      singleSleeper,
	"timers_10k":       func(c context) { sleepers(c, 10000, 99000) },
	"timers_100k":      func(c context) { sleepers(c, 100000, 999000) },
	"parked":           parked,
	"unrun":            unrun,
	"gap_read":         gapRead,
	"gap_usleep":       gapSleep,
	"gap_burn":         gapBurn,
	"idle_switches":    idle,
	"echo":             echo,
	"http":             httpPlaintext,
}

func main() {
	c := context{w: 1}
	wanted := []string{}
	for i := 1; i < len(os.Args); i++ {
		switch os.Args[i] {
		case "--w":
			i++
			c.w, _ = strconv.Atoi(os.Args[i])
		case "--quick":
			c.quick = true
		default:
			wanted = append(wanted, os.Args[i])
		}
	}
	runtime.GOMAXPROCS(c.w)
	for _, row := range wanted {
		body, known := rows[row]
		if !known {
			fmt.Fprintf(os.Stderr, "%s: no such row\n", row)
			os.Exit(2)
		}
		c.row = row
		body(c)
	}
}
