package addons

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const (
	firstPause = 50 * time.Millisecond
	longPause  = time.Second
	// settling is how long an API server that answers may still say that a namespace, a role binding
	// or a kind made a moment ago does not exist. After that it is the truth.
	settling = 10 * time.Second
	// remade is how long it may say so of a namespace that it makes itself: it tries each minute.
	remade = 70 * time.Second
)

// persist tries until it succeeds, until the failure is one that stays, or until ctx ends; then the
// error is the last failure rather than the deadline, which says nothing about the cause.
func persist(ctx context.Context, try func(context.Context) error) error {
	start, pause := time.Now(), firstPause
	for {
		err := try(ctx)
		if err == nil || ctx.Err() == nil && !passing(err, time.Since(start)) {
			return err
		}
		if ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (tried for %s: %w)", err, time.Since(start).Round(time.Millisecond), ctx.Err())
		case <-time.After(pause):
			pause = min(2*pause, longPause)
		}
	}
}

// passing says whether a failure may go away by itself.
func passing(err error, after time.Duration) bool {
	if lacksOwnNamespace(err) {
		return after < remade
	}
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) || isTaken(err) {
		return after < settling
	}
	return busy(err) || unreachable(err)
}

// lacksOwnNamespace: the API server has not made one of Kubernetes' own namespaces yet, as when etcd had no room at its start.
func lacksOwnNamespace(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	of := status.Status().Details
	own := []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}
	return of.Kind == "namespaces" && slices.Contains(own, of.Name)
}

// busy: the API server answered that it cannot now.
func busy(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsInternalError(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err)
}

// unreachable: the connection failed. A certificate that does not verify is not such a failure.
func unreachable(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) || utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) ||
		utilnet.IsProbableEOF(err) || utilnet.IsTimeout(err) || utilnet.IsHTTP2ConnectionLost(err)
}
