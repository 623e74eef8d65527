// SPDX-License-Identifier: Apache-2.0
//
// Channel, select, mutex and timer rows.
package main

import (
	"runtime"
	"sort"
	"sync"
	"syscall"
	"time"
)

func pingpong(c context, full int, threads bool) {
	trips := c.scale(full)
	c.measure(trips, func() {
		there, back := make(chan int), make(chan int)
		var ended sync.WaitGroup
		ended.Add(2)
		go func() {
			if threads {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			for v := range there {
				back <- v
			}
			ended.Done()
		}()
		ping := func() {
			if threads {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			for i := 0; i < trips; i++ {
				there <- i
				if <-back != i {
					panic("pingpong: a value was lost")
				}
			}
			close(there)
			ended.Done()
		}
		if threads {
			go ping()
		} else {
			ping()
		}
		ended.Wait()
	})
}

func ring(c context) {
	const members = 1000
	links := make([]chan int, members)
	for i := range links {
		links[i] = make(chan int)
	}
	for i := 0; i+1 < members; i++ {
		go func(in, out chan int) {
			for v := range in {
				out <- v + 1
			}
			close(out)
		}(links[i], links[i+1])
	}
	laps := c.scale(1000)
	c.measure(laps*members, func() {
		token := 0
		for lap := 0; lap < laps; lap++ {
			links[0] <- token + 1
			token = <-links[members-1]
		}
		if token != laps*members {
			panic("ring: hops were lost")
		}
	})
	close(links[0])
}

func buffered(c context, producers, consumers int) {
	each := c.scale(4000000) / producers
	c.measure(each*producers, func() {
		items := make(chan int, 128)
		var sent, received sync.WaitGroup
		sent.Add(producers)
		received.Add(consumers)
		counts := make([]int, consumers)
		for i := range counts {
			go func(count *int) {
				mine := 0
				for range items {
					mine++
				}
				*count = mine
				received.Done()
			}(&counts[i])
		}
		for p := 0; p < producers; p++ {
			go func() {
				for i := 0; i < each; i++ {
					items <- i
				}
				sent.Done()
			}()
		}
		sent.Wait()
		close(items)
		received.Wait()
		total := 0
		for _, count := range counts {
			total += count
		}
		if total != each*producers {
			panic("buffered channel: items were lost")
		}
	})
}

func mutex(c context) {
	const fibers = 8
	each := c.scale(4000000) / fibers
	c.measure(each*fibers, func() {
		var lock sync.Mutex
		var done sync.WaitGroup
		entries := 0
		guarded := uint(1)
		done.Add(fibers)
		for i := 0; i < fibers; i++ {
			go func() {
				for k := 0; k < each; k++ {
					lock.Lock()
					x := guarded
					for step := 0; step < 20; step++ {
						x = x*6364136223846793005 + 1442695040888963407
					}
					guarded = x
					entries++
					lock.Unlock()
				}
				done.Done()
			}()
		}
		done.Wait()
		if entries != each*fibers {
			panic("mutex: two were inside at once")
		}
	})
}

func selectTwo(c context, capacity int) {
	each := c.scale(1000000) / 2
	c.measure(2*each, func() {
		left, right := make(chan int, capacity), make(chan int, capacity)
		for _, out := range []chan int{left, right} {
			go func(out chan int) {
				for i := 0; i < each; i++ {
					out <- 1
				}
			}(out)
		}
		received := 0
		for i := 0; i < 2*each; i++ {
			select {
			case v := <-left:
				received += v
			case v := <-right:
				received += v
			}
		}
		if received != 2*each {
			panic("select: items were lost")
		}
	})
}

func sleepUs(number, rangeUs uint64) int64 {
	x := number * 0x9E3779B97F4A7C15
	x ^= x >> 29
	x *= 0xBF58476D1CE4E5B9
	x ^= x >> 32
	return int64(1000 + x%rangeUs)
}

func cpuMs() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e6
}

func sleepers(c context, full, fullRangeUs int) {
	const sleeps = 5
	rangeUs := uint64(c.scale(fullRangeUs))
	count := c.scale(full)
	late := make([]int64, count*sleeps)
	cpu := 0.0
	for repetition := 0; repetition < 2; repetition++ {
		var done sync.WaitGroup
		done.Add(count)
		before := cpuMs()
		for i := 0; i < count; i++ {
			go func(i int) {
				for k := 0; k < sleeps; k++ {
					number := i*sleeps + k
					wait := time.Duration(sleepUs(uint64(number), rangeUs)) * time.Microsecond
					start := time.Now()
					time.Sleep(wait)
					late[number] = int64(time.Since(start) - wait)
				}
				done.Done()
			}(i)
		}
		done.Wait()
		cpu = cpuMs() - before
	}
	sort.Slice(late, func(i, j int) bool { return late[i] < late[j] })
	c.report(c.row+"_cpu", cpu, "ms")
	c.report(c.row+"_p50", float64(late[len(late)/2])/1e3, "us")
	c.report(c.row+"_p99", float64(late[len(late)*99/100])/1e3, "us")
}

func singleSleeper(c context) {
	took := make([]int64, c.scale(5000))
	for i := range took {
		start := time.Now()
		time.Sleep(100 * time.Microsecond)
		took[i] = int64(time.Since(start))
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	c.report(c.row+"_p50", float64(took[len(took)/2])/1e3, "us")
	c.report(c.row+"_p99", float64(took[len(took)*99/100])/1e3, "us")
}
