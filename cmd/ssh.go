package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/providers/local"
)

// sshTo logs in by the machine's sshd, whose key is checked against the one the machine was made with. Without a
// command it gives a shell, on a terminal if there is one.
func sshTo(ctx context.Context, o *options, c *localcluster.Cluster, m *local.Machine, command []string) error {
	client, err := dialSSH(ctx, c, m)
	if err != nil {
		return fmt.Errorf("log in to %q: %w", m.Name(), err)
	}
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("log in to %q: %w", m.Name(), err)
	}
	defer s.Close()
	s.Stdin, s.Stdout, s.Stderr = o.Stdin, o.Stdout, o.Stderr
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	if len(command) > 0 {
		return onBehalf(s.Run(quote(command)))
	}
	return shell(o, s)
}

func dialSSH(ctx context.Context, c *localcluster.Cluster, m *local.Machine) (*ssh.Client, error) {
	signer, err := c.SSHSigner()
	if err != nil {
		return nil, err
	}
	if m.HostKey() == nil {
		return nil, errors.New("the machine's host key is not known")
	}
	address := net.JoinHostPort(m.Address().String(), "22")
	conn, err := m.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(m.HostKey()),
	})
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return ssh.NewClient(sc, chans, reqs), nil
}

func shell(o *options, s *ssh.Session) error {
	in, ok := o.Stdin.(*os.File)
	if ok && term.IsTerminal(int(in.Fd())) {
		width, height, err := term.GetSize(int(in.Fd()))
		if err != nil {
			return fmt.Errorf("measure the terminal: %w", err)
		}
		if err := s.RequestPty(os.Getenv("TERM"), height, width, ssh.TerminalModes{}); err != nil {
			return fmt.Errorf("ask for a terminal: %w", err)
		}
		old, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return fmt.Errorf("prepare the terminal: %w", err)
		}
		defer func() { _ = term.Restore(int(in.Fd()), old) }()
	}
	if err := s.Shell(); err != nil {
		return fmt.Errorf("start a shell: %w", err)
	}
	if err := s.Wait(); !errors.Is(err, io.EOF) {
		return onBehalf(err)
	}
	return nil
}

// quote makes one line for the remote shell out of arguments, none of which it may interpret.
func quote(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(out, " ")
}
