package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const timeout = 3 * time.Second

// client makes a new connection for each request, so that each one passes the whole path.
func client() *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
}

func get(url string) int {
	body, code, err := fetch(client(), url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return code
	}
	fmt.Print(body)
	return exitOK
}

func fetch(c *http.Client, url string) (string, int, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", classify(err), err
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
