package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	clients = 3
	pause   = 20 * time.Millisecond
	longest = 3 * time.Minute // even if nobody says stop
)

// load asks again and again until its standard input ends, and fails if one request was lost.
func load(url string) int {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	var mu sync.Mutex
	var wg sync.WaitGroup
	ok, lost := 0, 0
	deadline := time.After(longest)
	done := make(chan struct{})
	for range clients {
		wg.Go(func() {
			for !over(done) {
				_, _, err := fetch(client(), url)
				mu.Lock()
				if err != nil {
					lost++
					fmt.Println(time.Now().Format(time.TimeOnly), err)
				} else {
					ok++
				}
				mu.Unlock()
				time.Sleep(pause)
			}
		})
	}
	select {
	case <-stop:
	case <-deadline:
	}
	close(done)
	wg.Wait()
	fmt.Printf("answered %d lost %d\n", ok, lost)
	if lost > 0 || ok == 0 {
		return exitOther
	}
	return exitOK
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
