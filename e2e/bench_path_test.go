package e2e_test

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/engine"
)

func end(e engine.Event) time.Time {
	return e.Start.Add(time.Duration(e.Seconds * float64(time.Second)))
}

// longestPath gives the steps that the end of a launch waited for, one after another, the last one first: before a step came that
// of those it needs which ended last. The first steps of a host need none; they came after whatever ended last before them,
// which has made the host.
func longestPath(steps []engine.Event) (path []engine.Event) {
	byEnd := func(x, y engine.Event) int { return end(x).Compare(end(y)) }
	left := slices.Clone(steps)
	for len(left) > 0 {
		last := slices.MaxFunc(left, byEnd)
		path = append(path, last)
		left = slices.DeleteFunc(slices.Clone(steps), func(e engine.Event) bool {
			if len(last.Needs) > 0 {
				return e.Host != last.Host || !slices.Contains(last.Needs, e.Step)
			}
			return end(e).After(last.Start) || e.Host != last.Host && e.Host != ""
		})
	}
	return path
}

// The measures of the picture, in pixels.
const (
	rowHeight  = 18
	nameWidth  = 230
	graphWidth = 700
	headHeight = 96
)

// drawPath draws when which step ran, the ones that the end waited for in another colour, and when which stage was reached.
func drawPath(title string, r run, stages ...string) []byte {
	steps := slices.SortedStableFunc(slices.Values(r.steps), func(x, y engine.Event) int { return x.Start.Compare(y.Start) })
	path := longestPath(steps)
	critical := func(e engine.Event) bool {
		return slices.ContainsFunc(path, func(p engine.Event) bool { return p.Host == e.Host && p.Step == e.Step })
	}
	begin := steps[0].Start
	whole := max(end(path[0]).Sub(begin).Seconds(), r.seconds)
	x := func(seconds float64) float64 { return nameWidth + graphWidth*seconds/whole }
	height := headHeight + rowHeight*len(steps) + 10
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">
<rect width="100%%" height="100%%" fill="white"/>
<text x="10" y="18" font-size="14">%s</text>
`, nameWidth+graphWidth+60, height, html.EscapeString(title))
	fmt.Fprintf(&out, `<text x="10" y="34"><tspan fill="#c33">red</tspan>: what the end waited for; <tspan fill="#7aa6c8">blue</tspan>: beside it</text>`+"\n")
	for s := 0; float64(s) <= whole; s++ {
		fmt.Fprintf(&out, `<path d="M%.1f %d V%d" stroke="#eee"/><text x="%.1f" y="%d" fill="#888">%d s</text>`+"\n",
			x(float64(s)), headHeight-6, height-10, x(float64(s))-6, headHeight-10, s)
	}
	for i, e := range steps {
		y, colour := headHeight+rowHeight*i, "#7aa6c8"
		if critical(e) {
			colour = "#c33"
		}
		from := e.Start.Sub(begin).Seconds()
		fmt.Fprintf(&out, `<text x="10" y="%d">%s</text><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d" fill="#555">%.2f</text>`+"\n",
			y+12, html.EscapeString(e.Host+" "+e.Step), x(from), y+2, max(1, x(e.Seconds)-x(0)), rowHeight-5, colour,
			x(from+e.Seconds)+4, y+12, e.Seconds)
	}
	for i, stage := range stages {
		at, y := x(r.marks[stage]), 46+12*i
		fmt.Fprintf(&out, `<path d="M%.1f %d V%d" stroke="#3a3" stroke-dasharray="4 3"/><text x="%.1f" y="%d" fill="#3a3" text-anchor="end">%s</text>`+"\n",
			at, y-8, height-10, at-3, y, stage)
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// TestLongestPath: the path goes by what a step needs, and over the machine to what came before all hosts.
func TestLongestPath(t *testing.T) {
	zero := time.Unix(0, 0)
	step := func(host, name string, start, seconds float64, needs ...string) engine.Event {
		return engine.Event{Host: host, Step: name, Start: zero.Add(time.Duration(start * float64(time.Second))), Seconds: seconds, Needs: needs}
	}
	path := longestPath([]engine.Event{
		step("", "unpack", 0, 1), step("n", "machine", 1, 1), step("m", "machine", 1, 1.4),
		step("n", "keys", 2.5, 1), step("n", "images", 2.5, 1.8), step("n", "api", 4.5, 3, "keys", "images"),
		step("n", "mark", 3.5, 0.95, "keys"), // ends just before the API server's step begins, which does not need it
		step("m", "node", 2.6, 3),
	})
	var got []string
	for _, e := range path {
		got = append(got, e.Host+"/"+e.Step)
	}
	if want := []string{"n/api", "n/images", "n/machine", "/unpack"}; !slices.Equal(got, want) {
		t.Errorf("the path is %q, want %q", got, want)
	}
}
