package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"slipway.dev/slipway/internal/testenv"
)

// How the two processes of this test tell each other things. The outer one makes a network
// namespace, runs the inner one in it, and takes everything back however that ended.
const (
	insideVar = "SLIPWAY_E2E_INSIDE"
	stateVar  = "SLIPWAY_STATE"
	cacheVar  = "SLIPWAY_CACHE"
)

func TestMain(m *testing.M) {
	os.Exit(start(m))
}

func start(m *testing.M) int {
	if os.Getenv(insideVar) != "" || missing() != "" {
		return m.Run()
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

// missing names what these tests need and do not have.
func missing() string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	if _, err := os.Stat(binary()); err != nil {
		return "needs bin/slipway: make build"
	}
	for _, tool := range []string{"ip", "nft", "nsenter", "setpriv", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "needs " + tool + ": make deps"
		}
	}
	if err := exec.Command(binary(), "images", "list").Run(); err != nil {
		return "needs the bundle: make bundle"
	}
	return ""
}

// need skips the test when something is missing, or fails it where skipping is not allowed.
func need(t testing.TB) {
	t.Helper()
	if reason := missing(); reason != "" {
		testenv.Lacks(t, "%s", reason)
	}
}

func binary() string {
	path, err := filepath.Abs("../bin/slipway")
	if err != nil {
		panic(err)
	}
	return path
}

func outside() (code int, err error) {
	// ^C reaches the inner process too; this one stays to clean up.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	ns := fmt.Sprintf("e2e-%d", os.Getpid())
	if err := command("ip", "netns", "add", ns).Run(); err != nil {
		return 1, fmt.Errorf("make network namespace: %w", err)
	}
	defer func() { err = errors.Join(err, command("ip", "netns", "delete", ns).Run()) }()
	home, err := os.MkdirTemp("/var/lib", "slipway-e2e-") // beside the cache, for hard links
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, sweep(ns, home)) }()
	if err := within(ns, home, "ip", "link", "set", "lo", "up").Run(); err != nil {
		return 1, fmt.Errorf("enter network namespace: %w", err)
	}
	inner := within(ns, home, append([]string{os.Args[0]}, os.Args[1:]...)...)
	err = inner.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return inner.ProcessState.ExitCode(), err
}

// sweep removes what a test left that did not come to its end.
func sweep(ns, home string) error {
	var errs []error
	left, _ := os.ReadDir(filepath.Join(home, "state", "clusters"))
	for _, c := range left {
		fmt.Fprintln(os.Stderr, "e2e: removing cluster", c.Name())
		errs = append(errs, within(ns, home, binary(), "down", c.Name()).Run())
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(home)) {
		return errors.Join(append(errs, err, fmt.Errorf("something is still mounted below %q: it is left alone", home))...)
	}
	return errors.Join(append(errs, os.RemoveAll(home))...)
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// within runs a program in the network namespace and nothing else of it: "ip netns exec" would
// also give it a new mount namespace, and the machines' mounts would be lost with it.
func within(ns, home string, args ...string) *exec.Cmd {
	cmd := command(append([]string{"nsenter", "--net=/run/netns/" + ns, "--"}, args...)...)
	cmd.Env = append(os.Environ(), insideVar+"="+ns,
		stateVar+"="+filepath.Join(home, "state"), "SLIPWAY_RUN="+filepath.Join(home, "run"), "KUBECONFIG="+filepath.Join(home, "kubeconfig"))
	return cmd
}
