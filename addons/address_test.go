package addons_test

import (
	"context"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"slipway.dev/slipway/addons"
)

// TestApplyFreesAddress: a request that was ended between the address of its Service and the Service is no obstacle, and the
// address of somebody else's Service stays his.
func TestApplyFreesAddress(t *testing.T) {
	cfg := startAPIServer(t)
	client := clientFor(t, cfg)
	coredns := mustRender(t, local())["coredns"]
	dns := object(t, coredns, "Service")
	spec, _ := dns.Object["spec"].(map[string]any)
	ip, _ := spec["clusterIP"].(string)
	give := func(to string) {
		_, err := client.NetworkingV1().IPAddresses().Create(t.Context(), &networkingv1.IPAddress{
			ObjectMeta: metav1.ObjectMeta{Name: ip},
			Spec:       networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: dns.GetNamespace(), Name: to}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	give("theirs")
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if err := addons.Apply(ctx, cfg, coredns, nil); err == nil || !strings.Contains(err.Error(), "already allocated") {
		t.Fatalf("with an address of somebody else's: %v", err)
	}
	if err := client.NetworkingV1().IPAddresses().Delete(t.Context(), ip, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	give(dns.GetName())
	begin := time.Now()
	if err := addons.Apply(t.Context(), cfg, coredns, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("applied after %v", time.Since(begin))
}
