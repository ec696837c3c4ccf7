package serviceip

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// Lease is the name, in kube-system, of what those that run agree by on who works.
const Lease = "slipway-service-ip"

// How the one that works holds the Lease: it is renewed each renewal, given up when that failed for patience, and another's
// when that was silent for lease. What is asked of the API meanwhile has ended by then.
const (
	lease    = 15 * time.Second
	patience = 10 * time.Second
	renewal  = 5 * time.Second
	request  = 4 * time.Second
)

// Config says what to give out, and how.
type Config struct {
	Addresses netip.Prefix
	// Identity tells those that run apart.
	Identity string
	// Report is called with each event, one at a time.
	Report func(Event)
}

// Run gives Services their addresses until ctx ends, and then returns nil.
//
// The client must be allowed to list and watch services, to patch services/status, to create events, and in kube-system to
// create leases, and to get and update that of the name Lease.
func Run(ctx context.Context, c kubernetes.Interface, cfg Config) error {
	ctx = klog.NewContext(ctx, logr.Discard()) // what goes wrong is reported as events
	var one sync.Mutex
	report := func(e Event) {
		one.Lock()
		defer one.Unlock()
		cfg.Report(e)
	}
	var working sync.Mutex
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: Lease,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: Lease}, Client: c.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: cfg.Identity},
		},
		LeaseDuration: lease, RenewDeadline: patience, RetryPeriod: renewal, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				working.Lock() // the last time of leading may not have come to its end
				defer working.Unlock()
				report(Event{Kind: Leads, Reason: cfg.Identity})
				newGiver(c, cfg.Addresses, report).run(ctx)
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("prepare to share the Lease: %w", err)
	}
	for ctx.Err() == nil {
		elector.Run(ctx) // ends when the Lease is lost, too
	}
	return nil
}
