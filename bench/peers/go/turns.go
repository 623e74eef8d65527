// SPDX-License-Identifier: Apache-2.0
//
// Rows under load: ../../turns_bench.cpp and ../../stalls_bench.cpp say what they are.
package main

import (
	"fmt"
	"math/rand"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func init() {
	for kind, body := range hogKinds {
		body := body
		for name, n := range map[string]int{"P": 1, "2P": 2, "8P": 8} {
			n := n
			rows["hogs_"+kind+"_"+name] = func(c context) { hogs(c, body, n*c.w) }
		}
	}
	for _, ms := range []int{1, 5, 9} {
		slice := time.Duration(ms) * time.Millisecond
		rows[fmt.Sprintf("slices_%d", ms)] = func(c context) { slices(c, slice) }
	}
	rows["pairs"] = pairs
	rows["short_blocks"] = shortBlocks
	rows["burst_200"] = func(c context) { burst(c, 200) }
	rows["burst_1000"] = func(c context) { burst(c, 1000) }
	rows["urgent"] = urgent
	rows["wake_and_compute"] = wakeAndCompute
	rows["hogs_echo_8P"] = hogsEcho
	for _, what := range []string{"burn", "sleep"} {
		for _, connections := range []string{"64", "1000"} {
			for _, percent := range []string{"16", "64", "160"} {
				rows["stalls_"+what+"_"+connections+"_"+percent] = stalls
			}
		}
	}
}

func (c context) reportAll(values []float64, unit string) {
	if len(values) == 0 {
		values = []float64{0}
	}
	sort.Float64s(values)
	sum := 0.0
	for _, each := range values {
		sum += each
	}
	at := func(fraction float64) float64 { return values[int(fraction*float64(len(values)-1))] }
	c.report(c.row+"_mean", sum/float64(len(values)), unit)
	c.report(c.row+"_p50", at(0.5), unit)
	c.report(c.row+"_p99", at(0.99), unit)
	c.report(c.row+"_p999", at(0.999), unit)
	c.report(c.row+"_worst", at(1), unit)
}

// A span is the time that a row, or a part of it, lasts.
type span struct{ ended int32 }

func newSpan(length time.Duration) *span {
	s := &span{}
	time.AfterFunc(length, s.end)
	return s
}

func (s *span) over() bool { return atomic.LoadInt32(&s.ended) != 0 }
func (s *span) end()       { atomic.StoreInt32(&s.ended, 1) }

func (c context) scaleMs(full int) time.Duration {
	return time.Duration(c.scale(full)) * time.Millisecond
}

// start runs count goroutines, and gives what waits for them.
func start(count int, body func()) *sync.WaitGroup {
	all := &sync.WaitGroup{}
	all.Add(count)
	for i := 0; i < count; i++ {
		go func() {
			body()
			all.Done()
		}()
	}
	return all
}

func burn(howLong time.Duration) {
	for end := time.Now().Add(howLong); time.Now().Before(end); {
	}
}

var sink uint64

func spin(steps int) {
	x := uint64(1)
	for i := 0; i < steps; i++ {
		x = x*6364136223846793005 + 1442695040888963407
	}
	atomic.StoreUint64(&sink, x)
}

func stepsIn(howLong time.Duration) int {
	const sample = 1000000
	best := time.Hour
	for i := 0; i < 5; i++ {
		start := time.Now()
		spin(sample)
		if took := time.Since(start); took < best {
			best = took
		}
	}
	return int(howLong) * sample / int(best)
}

func lateness(row *span, howLong time.Duration) []float64 {
	late := []float64{}
	for !row.over() {
		start := time.Now()
		time.Sleep(howLong)
		late = append(late, float64(time.Since(start)-howLong)/1e6)
	}
	return late
}

var hogKinds = map[string]func(row *span){
	"pure": func(row *span) {
		for !row.over() {
		}
	},
	"mutex": func(row *span) {
		var mine sync.Mutex
		for !row.over() {
			mine.Lock()
			mine.Unlock()
		}
	},
	"chan": func(row *span) {
		mine := make(chan int, 1)
		for !row.over() {
			mine <- 1
			<-mine
		}
	},
	"select": func(row *span) {
		mine := make(chan int, 1)
		for !row.over() {
			select {
			case mine <- 1:
			case <-mine:
			}
		}
	},
	"timer": func(row *span) {
		for !row.over() {
			far := time.NewTimer(time.Hour)
			far.Stop()
		}
	},
}

func hogs(c context, kind func(*span), count int) {
	row := newSpan(c.scaleMs(2000))
	all := start(count, func() { kind(row) })
	late := lateness(row, 5*time.Millisecond)
	all.Wait()
	c.reportAll(late, "ms")
}

func slices(c context, slice time.Duration) {
	row := newSpan(c.scaleMs(2000))
	all := start(2, func() {
		for !row.over() {
			burn(slice)
			runtime.Gosched()
		}
	})
	late := lateness(row, time.Millisecond)
	all.Wait()
	c.reportAll(late, "ms")
}

type pingPong struct{ steps, trips int }

func (p *pingPong) start(row *span, all *sync.WaitGroup) {
	there, back := make(chan int), make(chan int)
	all.Add(2)
	go func() {
		for value := range there {
			spin(p.steps)
			back <- value
		}
		all.Done()
	}()
	go func() {
		for ; !row.over(); p.trips++ {
			spin(p.steps)
			there <- 1
			<-back
		}
		close(there)
		all.Done()
	}()
}

func (p *pingPong) got(trip float64) float64 { return trip * float64(max1(p.trips)) }

func tripAlone(c context, steps int) float64 {
	only := pingPong{steps: steps}
	var all sync.WaitGroup
	start := time.Now()
	only.start(newSpan(c.scaleMs(300)), &all)
	all.Wait()
	return float64(time.Since(start)) / float64(max1(only.trips))
}

func pairs(c context) {
	slow := pingPong{steps: stepsIn(300 * time.Microsecond)}
	quick := pingPong{steps: stepsIn(300 * time.Nanosecond)}
	slowTrip, quickTrip := tripAlone(c, slow.steps), tripAlone(c, quick.steps)
	row := newSpan(c.scaleMs(3000))
	var all sync.WaitGroup
	slow.start(row, &all)
	quick.start(row, &all)
	all.Wait()
	ratio := slow.got(slowTrip) / quick.got(quickTrip)
	if ratio < 1 {
		ratio = 1 / ratio
	}
	c.report("pairs_ratio", ratio, "x")
}

// blockFor sleeps in the kernel, and says so to the scheduler as every system call does.
func blockFor(howLong time.Duration) {
	wait := syscall.NsecToTimespec(howLong.Nanoseconds())
	syscall.Nanosleep(&wait, nil)
}

func nap(howLong time.Duration) {
	syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, 1, 0)
	blockFor(howLong)
}

func shortBlocks(c context) {
	row := newSpan(c.scaleMs(2000))
	all := start(8, func() {
		for !row.over() {
			nap(30 * time.Microsecond)
			spin(5000)
		}
	})
	late := lateness(row, time.Millisecond)
	all.Wait()
	c.reportAll(late, "ms")
}

func burst(c context, calls int) {
	row := newSpan(4 * time.Second)
	ticker := make(chan []float64)
	go func() { ticker <- lateness(row, time.Millisecond) }()
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	start(calls, func() { blockFor(300 * time.Millisecond) }).Wait()
	wall := time.Since(began)
	row.end()
	c.reportAll(<-ticker, "ms")
	c.report(c.row+"_wall", float64(wall)/1e6, "ms")
}

func yielders(row *span, turns *int64) *sync.WaitGroup {
	return start(4, func() {
		mine := int64(0)
		for ; !row.over(); mine++ {
			runtime.Gosched()
		}
		atomic.AddInt64(turns, mine)
	})
}

func urgent(c context) {
	var alone, beside int64
	began := time.Now()
	yielders(newSpan(c.scaleMs(1000)), &alone).Wait()
	took := time.Since(began)
	aloneRate := float64(alone) / took.Seconds()
	row := newSpan(c.scaleMs(2000))
	began = time.Now()
	four := yielders(row, &beside)
	ten := start(10, func() {
		for !row.over() {
			blockFor(200 * time.Microsecond)
		}
	})
	late := lateness(row, time.Millisecond)
	four.Wait()
	ten.Wait()
	c.report(c.row+"_turns", float64(beside)/time.Since(began).Seconds(), "/s")
	c.report(c.row+"_turns_alone", aloneRate, "/s")
	c.reportAll(late, "ms")
}

func wakeAndCompute(c context) {
	delays := []float64{}
	sentAt := make(chan time.Time)
	row := newSpan(c.scaleMs(3000))
	receiver := start(1, func() {
		for when := range sentAt {
			delays = append(delays, float64(time.Since(when))/1e3)
		}
	})
	for !row.over() {
		time.Sleep(10 * time.Millisecond)
		sentAt <- time.Now()
		burn(15 * time.Millisecond)
	}
	close(sentAt)
	receiver.Wait()
	c.reportAll(delays, "us")
}

const stallersAP = 8

func hogsEcho(c context) {
	start(stallersAP*c.w, func() { hogKinds["pure"](&span{}) })
	echo(c)
}

func stalls(c context) {
	words := strings.Split(c.row, "_")
	percent, _ := strconv.ParseFloat(words[3], 64)
	meanGap := (stallersAP*100/percent - 1) * float64(time.Millisecond)
	for i := 0; i < stallersAP*c.w; i++ {
		random := rand.New(rand.NewSource(int64(i)))
		go func() {
			for {
				time.Sleep(time.Duration(random.ExpFloat64() * meanGap))
				if words[1] == "sleep" {
					blockFor(time.Millisecond)
				} else {
					burn(time.Millisecond)
				}
			}
		}()
	}
	echo(c)
}
