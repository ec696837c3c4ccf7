package cmd

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"slipway.dev/slipway/bootstrap/engine"
)

// terminal gives the terminal that a writer is, if it is one that somebody looks at and that can be drawn on.
func terminal(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, false
	}
	name := os.Getenv("TERM")
	return f, name != "" && name != "dumb" && os.Getenv("NO_COLOR") == "" && os.Getenv("CI") == ""
}

// frameTime is how often the table is looked at; it is drawn when it has become another one.
const frameTime = 100 * time.Millisecond

// liveTable draws one line for each host: what is going on there, for how long, and how far it is. Between two frames the cursor
// is visible and stands on the empty line below the table: whatever ends this program, by whatever means, leaves a tidy terminal.
type liveTable struct {
	out  io.Writer
	size func() (width, height int)
	mark marks

	mu    sync.Mutex
	rows  []*row
	drawn []string // the lines of the last frame
}

// newLiveTable gives what receives events, and what to call when there are no more.
func newLiveTable(f *os.File) (engine.Report, func()) {
	t := &liveTable{out: f, mark: marksOf(os.Getenv), size: func() (width, height int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 || height <= 0 { // as on a serial line
			return 80, 24
		}
		return width, height
	}}
	stop := every(frameTime, func() { t.draw(time.Now(), false) })
	report := func(e engine.Event) { t.note(e, time.Now()) }
	return report, func() {
		stop()
		t.draw(time.Now(), true)
	}
}

func (t *liveTable) note(e engine.Event, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A number at the end of a name counts as one, and control planes come before workers.
	byHost := func(r *row, host string) int {
		return cmp.Or(cmp.Compare(len(r.host), len(host)), strings.Compare(r.host, host))
	}
	i, there := slices.BinarySearchFunc(t.rows, e.Host, byHost)
	if !there {
		t.rows = slices.Insert(t.rows, i, &row{host: e.Host, began: now})
	}
	t.rows[i].note(e, now)
}

// draw writes a frame in one piece, over the last one, if it differs from that. The last of all has every host, however many lines
// there are.
func (t *liveTable) draw(now time.Time, last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	width, height := t.size()
	lines := t.lines(now, width, height-1, last)
	if slices.Equal(lines, t.drawn) {
		return
	}
	var b strings.Builder
	b.WriteString("\x1b[?25l\r") // no cursor that jumps
	if up := min(len(t.drawn), height-1); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\r\n")
	}
	b.WriteString("\x1b[J\x1b[?25h")
	_, _ = io.WriteString(t.out, b.String()) // a terminal that has gone stops nothing
	t.drawn = lines
}

// lines gives no more than most, unless it is for the last time. Hosts that are done go first where there is no room.
func (t *liveTable) lines(now time.Time, width, most int, last bool) []string {
	l := layout{width: width - 1, mark: t.mark} // a full line would make some terminals wrap
	for _, r := range t.rows {
		l.host = max(l.host, runewidth.StringWidth(r.name()))
		l.steps = max(l.steps, len(r.count()))
	}
	l.host = min(l.host, max(width/3, 8))
	shown, rest := t.rows, ""
	if len(t.rows) > most && !last {
		shown, rest = t.fitting(now, max(most-1, 0))
	}
	out := make([]string, 0, len(shown)+1)
	for _, r := range shown {
		out = append(out, l.line(r, now, last))
	}
	if rest != "" && most > 0 {
		out = append(out, runewidth.Truncate("  "+rest, l.width, t.mark.cut))
	}
	return out
}

// fitting gives the hosts that there is room for, and says how many others there are.
func (t *liveTable) fitting(now time.Time, most int) (shown []*row, rest string) {
	first := slices.Clone(t.rows)
	slices.SortStableFunc(first, func(a, b *row) int { return cmp.Compare(a.state(now, false), b.state(now, false)) })
	others := map[rowState]int{}
	for _, r := range first[most:] {
		others[r.state(now, false)]++
	}
	for _, r := range t.rows {
		if slices.Contains(first[:most], r) {
			shown = append(shown, r)
		}
	}
	var counts []string
	for s, name := range []string{failedRow: "failed", busyRow: "at work", stoppedRow: "stopped", doneRow: "done"} {
		if n := others[rowState(s)]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return shown, fmt.Sprintf("and %d more: %s", len(first)-most, strings.Join(counts, ", "))
}

// rowState is what a host is at, the most urgent first.
type rowState int

const (
	failedRow rowState = iota
	busyRow
	stoppedRow
	doneRow
)

// row is what the table knows of one host.
type row struct {
	host        string
	began       time.Time
	changed     time.Time
	steps, done int
	running     []engine.Event // the last of each step that has not ended, the oldest step first
	failed      string         // a step
	stopped     bool
}

func (r *row) note(e engine.Event, now time.Time) {
	r.changed = now
	r.steps += e.Steps
	i := slices.IndexFunc(r.running, func(o engine.Event) bool { return o.Step == e.Step })
	switch e.State {
	case engine.Started, engine.Waiting:
		if i < 0 {
			r.running = append(r.running, e)
		} else {
			r.running[i] = e
		}
		return
	case engine.Done, engine.Unchanged:
		r.done++
	case engine.Failed:
		r.failed = cmp.Or(r.failed, e.Step)
	case engine.Stopped:
		r.stopped = true
	}
	if i >= 0 {
		r.running = slices.Delete(r.running, i, i+1)
	}
}

// restTime is for how long a host must have had nothing to do to count as done: there may be a pause between two runs of steps.
const restTime = time.Second

func (r *row) state(now time.Time, last bool) rowState {
	switch {
	case r.failed != "":
		return failedRow
	case len(r.running) > 0 && !last:
		return busyRow
	case r.stopped || len(r.running) > 0 || r.done < r.steps && last:
		return stoppedRow
	case r.done < r.steps || now.Sub(r.changed) < restTime && !last:
		return busyRow
	}
	return doneRow
}

func (r *row) name() string { return cmp.Or(printable(r.host), "this computer") }

// count is how many steps are done; a host with a program of another version does not say of how many.
func (r *row) count() string {
	if r.steps < r.done {
		return fmt.Sprint(r.done)
	}
	return fmt.Sprintf("%d/%d", r.done, r.steps)
}

// namedSteps is how many of the steps that run at a time are named: what they wait for says more.
const namedSteps = 2

// doing says what runs, and what the oldest of it that has something to say waits for.
func (r *row) doing() string {
	var names []string
	message := ""
	for _, e := range r.running {
		names = append(names, e.Step)
		message = cmp.Or(message, e.Message)
	}
	text := strings.Join(names[:min(len(names), namedSteps)], ", ")
	if more := len(names) - namedSteps; more > 0 {
		text += fmt.Sprintf(" +%d", more)
	}
	if message != "" {
		text += ": " + message
	}
	return printable(text)
}

// until is up to when its time counts: it stands still while nothing goes on.
func (r *row) until(now time.Time) time.Time {
	if len(r.running) == 0 {
		return r.changed
	}
	return now
}

// printable keeps what comes from elsewhere from moving the cursor.
func printable(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
}

// cutMiddle makes a name fit whose end tells it from others.
func cutMiddle(name string, width int, cut string) string {
	all := runewidth.StringWidth(name)
	if all <= width {
		return name
	}
	end := width * 2 / 3
	return runewidth.Truncate(name, width-end, cut) + runewidth.TruncateLeft(name, all-end, "")
}

// marks are the characters of the table.
type marks struct{ done, failed, stopped, busy, full, empty, cut string }

// marksOf gives those that the locale has.
func marksOf(env func(string) string) marks {
	locale := strings.ToUpper(cmp.Or(env("LC_ALL"), env("LC_CTYPE"), env("LANG")))
	if strings.Contains(locale, "UTF-8") || strings.Contains(locale, "UTF8") {
		return marks{done: "✓", failed: "✗", stopped: "-", busy: "•", full: "━", empty: "─", cut: "…"}
	}
	return marks{done: "+", failed: "x", stopped: "-", busy: "*", full: "=", empty: "-", cut: "~"}
}

// layout is how wide the parts of a line are.
type layout struct {
	width, host, steps int
	mark               marks
}

// Colours, of what is done, has failed, is at work or of no interest.
const (
	green = "\x1b[32m"
	red   = "\x1b[31m"
	cyan  = "\x1b[36m"
	faint = "\x1b[2m"
	plain = "\x1b[0m"
)

// barWidth is that of a bar, for which there is room on a line of barRoom.
const (
	barWidth = 12
	barRoom  = 72
)

func (l layout) line(r *row, now time.Time, last bool) string {
	seconds := func(t time.Time) string {
		return fmt.Sprintf("%3.0f s", t.Sub(r.began).Truncate(time.Second).Seconds())
	}
	mark, colour, took, text := l.mark.busy, cyan, seconds(r.until(now)), r.doing()
	switch r.state(now, last) {
	case failedRow:
		mark, colour, took, text = l.mark.failed, red, seconds(r.changed), "failed: "+printable(r.failed)
	case stoppedRow:
		mark, colour, took, text = l.mark.stopped, faint, seconds(r.until(now)), cmp.Or(r.doing(), "stopped")
	case doneRow:
		mark, colour, took, text = l.mark.done, green, seconds(r.changed), ""
	case busyRow:
	}
	host := runewidth.FillRight(cutMiddle(r.name(), l.host, l.mark.cut), l.host)
	rest := fmt.Sprintf("  %*s %s  %s", l.steps, r.count(), took, text)
	if l.width >= barRoom {
		full := barWidth
		if r.steps > 0 {
			full = min(r.done, r.steps) * barWidth / r.steps
		}
		bar := "  " + colour + strings.Repeat(l.mark.full, full) + plain + faint + strings.Repeat(l.mark.empty, barWidth-full) + plain
		rest = runewidth.Truncate(rest, l.width-4-l.host-barWidth, l.mark.cut)
		return colour + mark + plain + " " + host + bar + strings.TrimRight(rest, " ")
	}
	rest = strings.TrimRight(runewidth.Truncate(host+rest, max(l.width-2, 0), l.mark.cut), " ")
	return colour + mark + plain + " " + rest
}
