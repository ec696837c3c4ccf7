package cmd

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"slipway.dev/slipway/bootstrap/engine"
)

// row is what the table says of one host.
type row struct {
	bar   *mpb.Bar
	began time.Time
	done  int // steps
}

// liveTable shows one line for each host: what is going on there, or that all is done.
func liveTable(o *options) (engine.Report, func()) {
	var r running
	var mu sync.Mutex
	rows := map[string]*row{}
	table := mpb.New(mpb.WithOutput(o.Stderr), mpb.WithRefreshRate(100*time.Millisecond))
	add := func(host string) *row {
		line := &row{began: time.Now()}
		text := func(decor.Statistics) string {
			mu.Lock()
			defer mu.Unlock()
			return line.text(cmp.Or(host, "this computer"), r.onHost(host))
		}
		line.bar = table.New(0, mpb.NopStyle(), mpb.PrependDecorators(decor.Any(text)))
		return line
	}
	report := func(e engine.Event) {
		r.note(e)
		mu.Lock()
		line, ok := rows[e.Host]
		mu.Unlock()
		if !ok {
			line = add(e.Host) // outside of the lock, which drawing takes
			mu.Lock()
			if other, raced := rows[e.Host]; raced {
				line.bar.Abort(true)
				line = other
			}
			rows[e.Host] = line
			mu.Unlock()
		}
		if e.State == engine.Done || e.State == engine.Unchanged {
			mu.Lock()
			line.done++
			mu.Unlock()
		}
	}
	return report, func() {
		mu.Lock()
		all := make([]*row, 0, len(rows))
		for _, line := range rows {
			all = append(all, line)
		}
		mu.Unlock()
		for _, line := range all {
			line.bar.Abort(false) // leaves the line as it is
		}
		table.Wait()
	}
}

func (l *row) text(host string, steps []engine.Event) string {
	if len(steps) == 0 {
		return fmt.Sprintf("%-16s steps done: %2d", host, l.done)
	}
	var now []string
	message := ""
	for _, e := range steps {
		now = append(now, e.Step)
		message = cmp.Or(e.Message, message)
	}
	text := fmt.Sprintf("%-16s steps done: %2d, %3.0f s: %s", host, l.done, time.Since(steps[0].Start).Seconds(), strings.Join(now, ", "))
	if message != "" {
		text += " (" + message + ")"
	}
	return text
}
