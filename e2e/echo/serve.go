package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const grace = 10 * time.Second

// serve answers on port 8080 with the pod's name until it is asked to end, and then ends what it began.
func serve() int {
	name, err := os.Hostname()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitOther
	}
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: grace, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			fmt.Println(r.Method, r.URL, "from", r.RemoteAddr)
			fmt.Fprintln(w, name)
		})}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		ended <- server.Shutdown(last)
	}()
	packets, err := listenUDP(server.Addr, name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitOther
	}
	defer packets.Close()
	fmt.Println("listening on", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		return exitOther
	}
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitOther
	}
	return exitOK
}
