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
	cpu     float64            // seconds of this computer's processors, by whomever
	marks   map[string]float64 // what else was measured, by name
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

// of looks at one of the marks, for which no processor's time is known.
func (s series) of(mark string) (out series) {
	for _, r := range s {
		out = append(out, run{seconds: r.marks[mark]})
	}
	return out
}

// String gives the median and, of several rounds, the range.
func (s series) String() string {
	digits, median := 1, s.median().seconds
	if median < 1 {
		digits = 2
	}
	if len(s) == 1 {
		return fmt.Sprintf("%.*f", digits, median)
	}
	return fmt.Sprintf("%.*f (%.*f-%.*f)",
		digits, median, digits, slices.MinFunc(s, bySeconds).seconds, digits, slices.MaxFunc(s, bySeconds).seconds)
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
type benchReport struct{ rows, disks, steps []string }

// compare reports slipway against kubeadm: the whole job on a bare server, and on one that has programs and images already.
func (r *benchReport) compare(b *testing.B, what string, goal float64, bare, prepared, prepare, theirs series) {
	r.row(b, what+", from bare (kubeadm: after slipway prepare, which counts)", "bare", goal, bare, theirs.plus(prepare))
	r.row(b, what+", programs and images in place", "prepared", goal, prepared, theirs)
	r.timeline(what+", from bare", bare.median())
	r.timeline(what+", programs and images in place", prepared.median())
}

// row reports one comparison of seconds.
func (r *benchReport) row(b *testing.B, what, unit string, goal float64, ours, theirs series) {
	our, their := ours.median(), theirs.median()
	b.ReportMetric(0, "ns/op") // of all that was done together, which says nothing
	b.ReportMetric(our.seconds, unit+"-s")
	b.ReportMetric(their.seconds, unit+"-other-s")
	b.ReportMetric(our.seconds/their.seconds, unit+"-ratio")
	r.line(what, goal, ours, theirs)
}

// line reports one comparison, of whatever was measured. Without a goal it is only for information.
func (r *benchReport) line(what string, goal float64, ours, theirs series) {
	our, their := ours.median(), theirs.median()
	target, cpu := "", "\t"
	if goal != 0 {
		target = fmt.Sprint(goal)
	}
	if their.cpu != 0 {
		cpu = fmt.Sprintf("%.1f\t%.1f", our.cpu, their.cpu)
	}
	r.rows = append(r.rows, fmt.Sprintf("%s\t%v\t%v\t%.2f\t%s\t%s", what, ours, theirs, our.seconds/their.seconds, target, cpu))
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
	fmt.Fprintf(w, "\nwhat\tslipway\tother\tratio\tgoal\tslipway CPU s\tother CPU s\n%s\n\n%s\n%s\n",
		strings.Join(r.rows, "\n"), strings.Join(r.disks, "\n"), strings.Join(r.steps, "\n"))
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}
