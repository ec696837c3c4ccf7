package cmd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"slipway.dev/slipway/images/build"
)

// showBuild gives what shows a build, and what to call when it has ended: a bar with the parts that are being made on
// a terminal, a line for each finished part elsewhere.
func showBuild(o *options) (func(build.Progress), func()) {
	if _, ok := terminal(o.Stderr); ok {
		return buildBar(o)
	}
	return func(p build.Progress) {
		if !p.Started {
			fmt.Fprintf(o.Stderr, "[%*d/%d] %s %s\n", len(fmt.Sprint(p.Total)), p.Done, p.Total, p.Unit, p.Took.Round(100*time.Millisecond))
		}
	}, func() {}
}

func buildBar(o *options) (func(build.Progress), func()) {
	var mu sync.Mutex
	running := map[string]bool{}
	names := func(decor.Statistics) string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(slices.Sorted(maps.Keys(running)), ", ")
	}
	bars := mpb.New(mpb.WithOutput(o.Stderr), mpb.WithWidth(40))
	var bar *mpb.Bar // none until the first report, as a build may have nothing to do; a build reports one at a time
	report := func(p build.Progress) {
		mu.Lock()
		if p.Started {
			running[p.Unit] = true
		} else {
			delete(running, p.Unit)
		}
		mu.Unlock()
		if bar == nil {
			bar = bars.AddBar(0, mpb.PrependDecorators(decor.CountersNoUnit("%d/%d")),
				mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_MMSS), decor.Any(names, decor.WC{C: decor.DSyncSpace})))
		}
		bar.SetTotal(int64(p.Total), false)
		bar.SetCurrent(int64(p.Done))
	}
	return report, func() {
		if bar != nil {
			bar.Abort(false) // leaves it as far as it came
		}
		bars.Wait()
	}
}
