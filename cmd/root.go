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

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Main runs the command line and returns the exit code: 0; 1 for a failure; 2 for a wrong call; 130 when
// interrupted; what the program said for kubectl and ssh.
func Main(args []string) int {
	ctx, stop := interruptible(context.Background())
	defer stop()
	o := newOptions()
	root := newRoot(o)
	root.SetArgs(args)
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	called := false // once cobra is content with arguments and flags
	root.PersistentPreRun = func(*cobra.Command, []string) { called = true }
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
	root.AddCommand(newUp(o), newDown(o), newList(o), newStatus(o), newKubeconfig(o), newKubectl(o), newSSH(o),
		newLogs(o), newImagesWithLoad(o), newVersion(o), newNode(o))
	return root
}

// newImagesWithLoad adds the one command of `images` that is about a cluster.
func newImagesWithLoad(o *options) *cobra.Command {
	c := newImages(o)
	c.AddCommand(newImagesLoad(o))
	return c
}

func exitCode(ctx context.Context, err error, w io.Writer) int {
	var local *local.ExitError
	var process *exec.ExitError
	switch {
	case errors.Is(err, errReported):
		return 1
	case errors.As(err, &local) && len(fault.All(err)) == 0:
		return local.Code
	case errors.As(err, &process) && len(fault.All(err)) == 0:
		return process.ExitCode()
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

// errReported marks a failure whose cause has been printed already.
var errReported = errors.New("reported")

// printError shows every fault in err with its advice, or err itself when it holds none.
func printError(w io.Writer, err error) {
	faults := fault.All(err)
	if len(faults) == 0 {
		fmt.Fprintf(w, "error: %v\n", err)
		return
	}
	for _, f := range faults {
		fmt.Fprintf(w, "error[%s]: %v\n", f.ID, f)
		if f.Next != "" {
			fmt.Fprintf(w, "  next: %s\n", f.Next)
		}
	}
}
