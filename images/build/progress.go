package build

import (
	"sync"
	"time"
)

// Progress says that a unit started or ended. Done of Total units are ready.
type Progress struct {
	Unit        string
	Started     bool
	Took        time.Duration
	Done, Total int
}

type tracker struct {
	mu          sync.Mutex
	done, total int
	report      func(Progress)
}

// start reports a unit's begin and gives the function that reports its end.
func (t *tracker) start(name string) func() {
	began := time.Now()
	t.send(Progress{Unit: name, Started: true})
	return func() { t.send(Progress{Unit: name, Took: time.Since(began)}) }
}

func (t *tracker) send(p Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !p.Started {
		t.done++
	}
	p.Done, p.Total = t.done, t.total
	if t.report != nil {
		t.report(p)
	}
}
