// SPDX-License-Identifier: Apache-2.0
//
// Scheduler rows: yield, spawn, skynet, fib, parked and not yet run goroutines, hand-off gaps, idling.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func yieldAmong(c context, fibers int) {
	each := c.scale(4000000) / fibers
	c.measure(each*fibers, func() {
		var done sync.WaitGroup
		done.Add(fibers)
		for i := 0; i < fibers; i++ {
			go func() {
				for k := 0; k < each; k++ {
					runtime.Gosched()
				}
				done.Done()
			}()
		}
		done.Wait()
	})
}

func spawn(c context) {
	batches := c.scale(1000)
	c.measure(batches*1000, func() {
		for b := 0; b < batches; b++ {
			var done sync.WaitGroup
			done.Add(1000)
			for i := 0; i < 1000; i++ {
				go func() { done.Done() }()
			}
			done.Wait()
		}
	})
}

func skynetNode(out chan<- int, first, size int) {
	if size == 1 {
		out <- first
		return
	}
	in := make(chan int)
	for i := 0; i < 10; i++ {
		go skynetNode(in, first+i*(size/10), size/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-in
	}
	out <- sum
}

func skynet(c context) {
	leaves := c.scale(1000000)
	c.measureMs(func() {
		root := make(chan int)
		go skynetNode(root, 0, leaves)
		if <-root != leaves*(leaves-1)/2 {
			panic("skynet: wrong sum")
		}
	})
}

func fibSequential(n int) int {
	if n < 2 {
		return n
	}
	return fibSequential(n-1) + fibSequential(n-2)
}

func fibForked(n, cutoff int) int {
	if n <= cutoff+1 {
		return fibSequential(n)
	}
	left := make(chan int, 1)
	go func() { left <- fibForked(n-1, cutoff) }()
	right := fibForked(n-2, cutoff)
	return <-left + right
}

func fib(c context, cutoff int) {
	c.measureMs(func() {
		if fibForked(30, cutoff) != 832040 {
			panic("fib(30) is not 832040")
		}
	})
}

func fieldKiB(path, key string) int {
	in, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer in.Close()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), key) {
			value, _ := strconv.Atoi(strings.Fields(lines.Text())[1])
			return value
		}
	}
	return 0
}

func memoryNow() int {
	return 1024 * (fieldKiB("/proc/self/smaps_rollup", "Rss:") + fieldKiB("/proc/self/status", "VmPTE:"))
}

func mappings() int {
	text, _ := os.ReadFile("/proc/self/maps")
	return strings.Count(string(text), "\n")
}

func parked(c context) {
	count := c.scale(1000000)
	gate := make(chan struct{})
	var started, ended sync.WaitGroup
	started.Add(count)
	ended.Add(count)
	before := memoryNow()
	start := time.Now()
	for i := 0; i < count; i++ {
		go func() {
			started.Done()
			<-gate
			ended.Done()
		}()
	}
	started.Wait()
	elapsed := time.Since(start)
	c.report(c.row+"_bytes", float64(memoryNow()-before)/float64(count), "B")
	c.report(c.row+"_vmas", float64(mappings()), "mappings")
	c.report(c.row+"_spawn", float64(elapsed.Nanoseconds())/float64(count), "ns")
	close(gate)
	ended.Wait()
}

func unrun(c context) {
	const count = 5000
	var ran int64
	var ended sync.WaitGroup
	ended.Add(count)
	before := memoryNow()
	for i := 0; i < count; i++ {
		go func() {
			atomic.AddInt64(&ran, 1)
			ended.Done()
		}()
	}
	early := atomic.LoadInt64(&ran)
	after := memoryNow()
	if early != 0 {
		fmt.Fprintf(os.Stderr, "unrun: %d of %d goroutines had run when memory was read\n", early, count)
	}
	c.report("unrun_bytes", float64(after-before)/count, "B")
	ended.Wait()
}

func longestPause(c context, hold func()) {
	trials := 15
	if c.quick {
		trials = 5
	}
	pauses := []float64{}
	for trial := 0; trial < trials; trial++ {
		var over int32
		result := make(chan time.Duration, 1)
		go func() {
			var longest time.Duration
			last := time.Now()
			for atomic.LoadInt32(&over) == 0 {
				runtime.Gosched()
				now := time.Now()
				if now.Sub(last) > longest {
					longest = now.Sub(last)
				}
				last = now
			}
			result <- longest
		}()
		runtime.Gosched()
		hold()
		atomic.StoreInt32(&over, 1)
		pauses = append(pauses, float64((<-result).Nanoseconds())/1e6)
	}
	sort.Float64s(pauses)
	c.report(c.row, pauses[trials/2], "ms")
}

const held = 100 * time.Millisecond

func gapRead(c context) {
	longestPause(c, func() {
		// Another process writes: a goroutine of ours would be a second runnable one.
		ends := []int{0, 0}
		if err := syscall.Pipe2(ends, syscall.O_CLOEXEC); err != nil {
			panic(err)
		}
		child := exec.Command("sh", "-c", "sleep 0.1; echo")
		child.Stdout = os.NewFile(uintptr(ends[1]), "pipe")
		if err := child.Start(); err != nil {
			panic(err)
		}
		syscall.Read(ends[0], make([]byte, 1))
		child.Wait()
		child.Stdout.(*os.File).Close()
		syscall.Close(ends[0])
	})
}

func gapSleep(c context) {
	longestPause(c, func() {
		wait := syscall.NsecToTimespec(held.Nanoseconds())
		syscall.Nanosleep(&wait, nil)
	})
}

func gapBurn(c context) {
	longestPause(c, func() {
		for end := time.Now().Add(held); time.Now().Before(end); {
		}
	})
}

func contextSwitches(process int) int {
	total := 0
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", process))
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		for _, line := range strings.Split(string(text), "\n") {
			if strings.Contains(line, "voluntary_ctxt_switches:") {
				value, _ := strconv.Atoi(strings.Fields(line)[1])
				total += value
			}
		}
	}
	return total
}

func idle(c context) {
	if os.Getenv("BENCH_IDLE") != "" {
		time.Sleep(time.Hour)
	}
	child := exec.Command(os.Args[0], "--w", strconv.Itoa(c.w), "idle_switches")
	child.Env = append(os.Environ(), "BENCH_IDLE=1")
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the death signal follows the thread that started the child
	if err := child.Start(); err != nil {
		panic(err)
	}
	time.Sleep(500 * time.Millisecond)
	start := time.Now()
	before := contextSwitches(child.Process.Pid)
	if c.quick {
		time.Sleep(2 * time.Second)
	} else {
		time.Sleep(10 * time.Second)
	}
	after := contextSwitches(child.Process.Pid)
	c.report(c.row, float64(after-before)/time.Since(start).Seconds(), "/s")
	child.Process.Kill()
	child.Wait()
}
