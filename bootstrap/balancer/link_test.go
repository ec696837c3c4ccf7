package balancer_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// TestHalfClose holds that each direction ends by itself. The server speaks no TLS: it is down, and tried anyway.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	question, answer := make([]byte, 1<<20), make([]byte, 1<<20)
	rand.Read(question)
	rand.Read(answer)
	question[0] = 'q' // not as TLS begins
	for what, serve := range map[string]func(*net.TCPConn) error{
		"client first": func(c *net.TCPConn) error { return listenThenTalk(c, question, answer) },
		"server first": func(c *net.TCPConn) error { return talkThenListen(c, answer, question) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			address, result := plainServer(t, serve)
			n := newCluster(t).node(t, []string{address}, nil)
			raw, err := net.Dial("tcp", n.Listen)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			client := raw.(*net.TCPConn)
			client.SetDeadline(time.Now().Add(patience))
			if what == "client first" {
				err = talkThenListen(client, question, answer)
			} else {
				err = listenThenTalk(client, answer, question)
			}
			if err != nil {
				t.Errorf("client: %v", err)
			}
			expect(t, result)
		})
	}
}

// expect waits for a connection that served its client well. Others are the balancer's, which asks for the server's health
// and goes away when it likes.
func expect(t *testing.T, result <-chan error) {
	t.Helper()
	late, others := time.After(patience), []error(nil)
	for {
		select {
		case err := <-result:
			if err == nil {
				return
			}
			others = append(others, err)
		case <-late:
			t.Fatalf("the server has not heard its client to the end: %v", errors.Join(others...))
		}
	}
}

// plainServer gives one listener, and what serve gives for each connection.
func plainServer(t *testing.T, serve func(*net.TCPConn) error) (address string, result <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", host()+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	results := make(chan error, 100) // more than the balancer's questions
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				results <- serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String(), results
}

func talkThenListen(c *net.TCPConn, say, hear []byte) error {
	if _, err := c.Write(say); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	return listen(c, hear)
}

func listenThenTalk(c *net.TCPConn, hear, say []byte) error {
	if err := listen(c, hear); err != nil {
		return err
	}
	_, err := c.Write(say)
	return errors.Join(err, c.CloseWrite())
}

func listen(c *net.TCPConn, want []byte) error {
	got, err := io.ReadAll(c)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(got, want):
		return fmt.Errorf("%d other bytes than the %d that were sent", len(got), len(want))
	}
	return nil
}
