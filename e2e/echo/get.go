package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const timeout = 3 * time.Second

// client makes a new connection for each request, so that each one passes the whole path.
func client() *http.Client { return clientFrom("0") }

// clientFrom connects from one port; 0 is whichever is free.
func clientFrom(port string) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			from, err := net.ResolveTCPAddr(network, ":"+port)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, address)
		},
	}}
}

func get(url, port string) int {
	body, code, err := fetch(clientFrom(port), url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return code
	}
	fmt.Print(body)
	return exitOK
}

func fetch(c *http.Client, url string) (string, int, error) {
	var path trace
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), path.hooks()), http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", exitOther, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", classify(err), fmt.Errorf("%w; %s", err, path.String())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", classify(err), err
	}
	if resp.StatusCode != http.StatusOK {
		return "", exitStatus, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(body), exitOK, nil
}

// trace is how far a request came: a lost one must say where.
type trace struct {
	mu   sync.Mutex
	said []string
}

func (t *trace) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said = append(t.said, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.said, ", ")
}

func (t *trace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { t.note("asked for the name") },
		DNSDone:      func(i httptrace.DNSDoneInfo) { t.note("got %v %v", i.Addrs, i.Err) },
		ConnectStart: func(_, address string) { t.note("connecting to %s", address) },
		ConnectDone:  func(_, address string, err error) { t.note("connected to %s %v", address, err) },
		WroteRequest: func(i httptrace.WroteRequestInfo) { t.note("sent %v", i.Err) },
	}
}

func classify(err error) int {
	var dns *net.DNSError
	var timed interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns):
		return exitName
	case errors.Is(err, syscall.ECONNREFUSED):
		return exitRefused
	case errors.As(err, &timed) && timed.Timeout():
		return exitTimeout
	default:
		return exitOther
	}
}
