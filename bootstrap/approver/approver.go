package approver

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// The reasons of the conditions that a decided request gets.
const (
	ReasonApproved = "SlipwayApproved"
	ReasonDenied   = "SlipwayDenied"
)

// How soon a request is judged again, at first and at last. A change of its Node does not wait for that.
const (
	retryFirst = time.Second
	retryLast  = time.Minute
)

// approver is one run of Run.
type approver struct {
	client kubernetes.Interface

	endpoints []string
	known     *informers
	queue     workqueue.TypedRateLimitingInterface[string]
	report    func(Event)
	waiting   map[string]Event // by request: what was reported last, so that it is not repeated with each attempt
}

// Run decides about requests until ctx ends, and then returns nil. Endpoints are the hosts that the API is reached by from
// outside, of which no worker may have a certificate. Report is called with each event, one at a time.
//
// The client must be allowed to list and watch certificatesigningrequests, nodes and, in "default", the Service
// "kubernetes"; to update certificatesigningrequests/approval; and to approve for the signer.
func Run(ctx context.Context, c kubernetes.Interface, endpoints []string, report func(Event)) error {
	ctx = klog.NewContext(ctx, logr.Discard()) // what goes wrong is reported as events
	var one sync.Mutex
	a := &approver{
		client: c, endpoints: endpoints,
		known:   newInformers(c),
		waiting: map[string]Event{},
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryFirst, retryLast)),
		report: func(e Event) {
			one.Lock()
			defer one.Unlock()
			report(e)
		},
	}
	if err := a.known.notify(a.queue.Add, a.trouble); err != nil {
		return fmt.Errorf("prepare to watch the cluster: %w", err)
	}
	a.run(ctx)
	return nil
}

func (a *approver) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		<-ctx.Done()
		a.queue.ShutDown()
	})
	// Without all Nodes, an address might seem to be nobody else's.
	if !a.known.start(ctx, &running) {
		return
	}
	for {
		name, ended := a.queue.Get()
		if ended || ctx.Err() != nil {
			return
		}
		if a.settle(ctx, name) {
			a.queue.Forget(name)
			delete(a.waiting, name)
		} else {
			a.queue.AddRateLimited(name)
		}
		a.queue.Done(name)
	}
}

// settle judges a request and says whether that is all there is to do, until something changes.
func (a *approver) settle(ctx context.Context, name string) (done bool) {
	csr, nodes, api := a.known.about(name)
	if csr == nil {
		return true
	}
	switch verdict, why := Judge(csr, nodes, api, a.endpoints...); verdict {
	case Approve:
		return a.decide(ctx, csr, certificatesv1.CertificateApproved, Approved, why)
	case Deny:
		return a.decide(ctx, csr, certificatesv1.CertificateDenied, Denied, why)
	case Wait:
		a.wait(event(Waiting, csr, why))
		return false
	default:
		return true
	}
}

func (a *approver) decide(ctx context.Context, csr *certificatesv1.CertificateSigningRequest,
	as certificatesv1.RequestConditionType, kind Kind, why string,
) (done bool) {
	reason := ReasonApproved
	if kind == Denied {
		reason = ReasonDenied
	}
	csr = csr.DeepCopy()
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: as, Status: corev1.ConditionTrue, Reason: reason, Message: why,
	})
	_, err := a.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
	switch {
	case err == nil:
		a.report(event(kind, csr, why))
		return true
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
		return true // somebody else was first; if it is still open, the change that was in the way brings it back
	case ctx.Err() == nil:
		a.wait(event(Trouble, csr, fmt.Sprintf("have it %s: %v", kind, err)))
	}
	return false
}

// wait reports why a request stays open, once.
func (a *approver) wait(e Event) {
	if a.waiting[e.Request] != e {
		a.waiting[e.Request] = e
		a.report(e)
	}
}

func (a *approver) trouble(what string, err error) {
	a.report(Event{Kind: Trouble, Reason: fmt.Sprintf("watch %s: %v", what, err)})
}

func event(kind Kind, csr *certificatesv1.CertificateSigningRequest, why string) Event {
	e := Event{Kind: kind, Request: csr.Name, Reason: why}
	if node, ok := strings.CutPrefix(csr.Spec.Username, userPrefix); ok {
		e.Node = node
	}
	return e
}
