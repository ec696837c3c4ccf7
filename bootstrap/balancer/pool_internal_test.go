package balancer

import (
	"errors"
	"testing"
)

// TestReleasedLinksDoNotCount holds that a server whose connections ended is again the one with the least.
func TestReleasedLinksDoNotCount(t *testing.T) {
	p := newPool("", func(Event) {})
	p.set([]string{"a:1", "b:1"})
	links := []*link{{}, {}, {}}
	busy, known := p.next(nil)
	for _, l := range links {
		if !p.admit(busy, known, l) {
			t.Fatal("not admitted")
		}
	}
	idle, known := p.next(nil)
	if idle == busy || !p.admit(idle, known, &link{}) {
		t.Fatal("the busy server was chosen again")
	}
	for _, l := range links {
		p.release(busy, l)
	}
	if s, _ := p.next(nil); s != busy {
		t.Error("links that were released still count")
	}
}

// TestAdmitRefusesWhatNobodyWouldClose holds that a link is not made to a server that went down or left while it was dialed.
func TestAdmitRefusesWhatNobodyWouldClose(t *testing.T) {
	p := newPool("", func(Event) {})
	p.set([]string{"a:1"})
	s, known := p.next(nil)
	for range downAfter {
		p.failed(s, errors.New("test"))
	}
	if p.admit(s, known, &link{}) {
		t.Error("admitted to a server that went down")
	}
	if s, known := p.next(nil); !p.admit(s, known, &link{}) {
		t.Error("not admitted to the only server there is")
	}
	p.set([]string{"b:1"})
	if p.admit(s, down, &link{}) {
		t.Error("admitted to a server that left")
	}
}
