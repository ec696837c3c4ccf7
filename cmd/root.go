package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"k8s.io/klog/v2"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Main runs the command line and returns the exit code: 0; 1 for a failure; 2 for a wrong call; 130 when
// interrupted; what the program said for kubectl and ssh.
func Main(args []string) int {
	klog.SetLogger(logr.Discard()) // what client-go has to say comes back as errors
	ctx, stop := interruptible(context.Background())
	defer stop()
	o := newOptions()
	root := newRoot(o)
	root.SetArgs(args)
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	called := false // once cobra is content with arguments and flags
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		err := c.ValidateFlagGroups() // cobra does it only later
		called = err == nil
		return err
	}
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case !called:
		printError(o.Stderr, fault.New("wrong-call", "understand the command", err, "see `slipway --help`, or `--help` of the command"))
		return 2
	}
	return exitCode(ctx, err, o.Stderr)
}

// interruptible gives a context that the first ^C ends; a second one kills, since the handler is gone by then.
func interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func newRoot(o *options) *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "Launch Kubernetes clusters",
		Long: "Slipway launches Kubernetes clusters: `slipway up` makes machines on this computer and a cluster on them.\n" +
			"Everything comes from a verified bundle, which `slipway images build` makes.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newUp(o), newDown(o), newStop(o), newStart(o), newPause(o), newResume(o), newRestart(o), newSnapshot(o), newList(o),
		newStatus(o), newKubeconfig(o), newKubectl(o), newSSH(o),
		newLogs(o), newMachines(o), newPlan(o), newInit(o), newJoin(o), newPrepare(o), newReset(o), newDoctor(o), newToken(o), newCerts(o),
		newImages(o), newVersion(o), newConfig(o), newNode(o))
	return root
}

func exitCode(ctx context.Context, err error, w io.Writer) int {
	var theirs *exitError
	if errors.As(err, &theirs) {
		return theirs.code
	}
	interrupted := ctx.Err() != nil
	if !interrupted || len(fault.All(err)) > 0 {
		printError(w, err)
	}
	if interrupted {
		fmt.Fprintln(w, "interrupted: the same command goes on where it stopped")
		return 130
	}
	return 1
}

// exitError is that a program which ran on the user's behalf failed, and has said why.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// onBehalf makes an exitError of what a program returned that the user asked for.
func onBehalf(err error) error {
	var machine *local.ExitError
	var process *exec.ExitError
	var remote *ssh.ExitError
	switch {
	case errors.As(err, &machine):
		return &exitError{machine.Code}
	case errors.As(err, &process):
		return &exitError{process.ExitCode()}
	case errors.As(err, &remote):
		return &exitError{remote.ExitStatus()}
	}
	return err
}

// printError shows every fault in err with its advice, or err itself when it holds none.
func printError(w io.Writer, err error) {
	faults := fault.All(err)
	if len(faults) == 0 {
		fmt.Fprintf(w, "error: %v\n", err)
		return
	}
	for _, f := range faults {
		fmt.Fprintf(w, "error[%s]: %v\n", f.ID, f)
		if f.Step != "" {
			fmt.Fprintf(w, "  step: %s\n", f.Step)
		}
		if f.Log != nil {
			fmt.Fprintf(w, "  the end of what %s has logged:\n", printable(f.Log.Of))
			for _, line := range f.Log.Lines {
				fmt.Fprintf(w, "    %s\n", printable(line))
			}
		}
		if f.Next != "" {
			fmt.Fprintf(w, "  next: %s\n", f.Next)
		}
	}
}
