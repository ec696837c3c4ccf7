package addons

import (
	"context"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

// abandoned is how long after an address was given to a Service the request that is to make the Service has most likely ended. If it has
// not, the API server's own repair gives the Service its address again.
const abandoned = 5 * time.Second

// isTaken: the address of a Service was given to another request. That may be our own, of a run that was ended in the middle of it: it
// either succeeds yet, or gives the address back, or nobody does for minutes, until the API server looks for such addresses.
func isTaken(err error) bool {
	return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "provided IP is already allocated")
}

// freeAddresses gives back the addresses that were given to this very Service, which is not there.
func (c *client) freeAddresses(ctx context.Context, services dynamic.ResourceInterface, service *unstructured.Unstructured) error {
	if _, err := services.Get(ctx, service.GetName(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return err
	}
	all := c.dynamic.Resource(networkingv1.SchemeGroupVersion.WithResource("ipaddresses"))
	addresses, _, err := unstructured.NestedStringSlice(service.Object, "spec", "clusterIPs")
	if err != nil {
		return err
	}
	if one, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP"); len(addresses) == 0 {
		addresses = []string{one}
	}
	for _, address := range addresses {
		given, err := all.Get(ctx, address, metav1.GetOptions{})
		if err != nil || !isFor(given, service) || time.Since(given.GetCreationTimestamp().Time) < abandoned {
			continue // why it is taken, the API server has said
		}
		uid := given.GetUID()
		err = all.Delete(ctx, address, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func isFor(address, service *unstructured.Unstructured) bool {
	parent, _, err := unstructured.NestedStringMap(address.Object, "spec", "parentRef")
	return err == nil && parent["group"] == "" && parent["resource"] == "services" &&
		parent["namespace"] == service.GetNamespace() && parent["name"] == service.GetName()
}
