package e2e_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"slipway.dev/slipway/bootstrap/engine"
)

// run is one measurement.
type run struct {
	seconds float64
	ready   float64 // until the command had ended and the node was Ready
	cpu     float64 // seconds of this computer's processors, by whomever
	steps   []engine.Event
}

// stopwatch is a measurement that has begun.
type stopwatch struct {
	began time.Time
	cpu   float64
}

func startWatch(b *testing.B) stopwatch { return stopwatch{time.Now(), usedCPU(b)} }

func (w stopwatch) seconds() float64 { return time.Since(w.began).Seconds() }

func (w stopwatch) stop(b *testing.B) run { return run{seconds: w.seconds(), cpu: usedCPU(b) - w.cpu} }

// usedCPU is what all processors have spent on something, in seconds:
// https://docs.kernel.org/filesystems/proc.html#miscellaneous-kernel-statistics-in-proc-stat
func usedCPU(b *testing.B) (seconds float64) {
	b.Helper()
	const ticks = 100 // a second
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	for i, field := range strings.Fields(first)[1:9] {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			b.Fatal(err)
		}
		if i != 3 && i != 4 { // idle, waiting for a disk
			seconds += n / ticks
		}
	}
	return seconds
}

func bySeconds(x, y run) int { return cmp.Compare(x.seconds, y.seconds) }

// series is what the rounds gave.
type series []run

func (s *series) add(r run) { *s = append(*s, r) }

// median is the run in the middle, the slower one of two.
func (s series) median() run {
	sorted := slices.SortedFunc(slices.Values(s), bySeconds)
	return sorted[len(sorted)/2]
}

// untilReady leaves out what came after the node was Ready.
func (s series) untilReady() series {
	out := slices.Clone(s)
	for i := range out {
		out[i].seconds = out[i].ready
	}
	return out
}

// plus adds what was done before, round by round.
func (s series) plus(before series) series {
	out := slices.Clone(s)
	for i := range out {
		out[i].seconds += before[i].seconds
		out[i].cpu += before[i].cpu
	}
	return out
}

// benchReport is the table at the end, and the steps of slipway's median runs.
type benchReport struct{ rows, steps []string }

// compare reports slipway against kubeadm: the whole job on a bare server, and on one that has programs and images already.
func (r *benchReport) compare(b *testing.B, what string, goal float64, bare, prepared, prepare, theirs series) {
	r.row(b, what+", from bare (kubeadm: after slipway prepare, which counts)", "bare", goal, bare, theirs.plus(prepare))
	r.row(b, what+", programs and images in place", "prepared", goal, prepared, theirs)
	r.timeline(what+", from bare", bare.median())
	r.timeline(what+", programs and images in place", prepared.median())
}

// row reports one comparison. Without a goal it is only for information.
func (r *benchReport) row(b *testing.B, what, unit string, goal float64, ours, theirs series) {
	our, their := ours.median(), theirs.median()
	x, y := our.seconds, their.seconds
	b.ReportMetric(0, "ns/op") // of all that was done together, which says nothing
	b.ReportMetric(x, unit+"-s")
	b.ReportMetric(y, unit+"-other-s")
	b.ReportMetric(x/y, unit+"-ratio")
	target := ""
	if goal != 0 {
		target = fmt.Sprintf("%.1f", goal)
	}
	r.rows = append(r.rows, fmt.Sprintf("%s\t%.1f\t%.1f\t%.2f\t%s\t%.1f\t%.1f", what, x, y, x/y, target, our.cpu, their.cpu))
}

func (r *benchReport) timeline(what string, m run) {
	r.steps = append(r.steps, fmt.Sprintf("\n%s: %.1f s\nstart\tseconds\tstep", what, m.seconds))
	slices.SortStableFunc(m.steps, func(x, y engine.Event) int { return x.Start.Compare(y.Start) })
	for _, e := range m.steps {
		r.steps = append(r.steps, fmt.Sprintf("%.2f\t%.2f\t%s", e.Start.Sub(m.steps[0].Start).Seconds(), e.Seconds, e.Step))
	}
}

func (r *benchReport) print(b *testing.B) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nwhat\tslipway s\tother s\tratio\tgoal\tslipway CPU s\tother CPU s\n%s\n%s\n", strings.Join(r.rows, "\n"), strings.Join(r.steps, "\n"))
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}
