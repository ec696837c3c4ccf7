package approver

import (
	"context"
	"errors"
	"io"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	certificatesinformers "k8s.io/client-go/informers/certificates/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// apiService is the Service of the API servers, in the namespace "default". They keep it themselves.
const apiService = "kubernetes"

// byUser is the index of requests by who asks.
const byUser = "user"

// informers are what is known of the cluster. Selections are such that an authorization rule can allow no more than them.
type informers struct {
	requests, nodes, services cache.SharedIndexInformer
}

func newInformers(c kubernetes.Interface) *informers {
	only := func(field, value string) func(*metav1.ListOptions) {
		return func(o *metav1.ListOptions) { o.FieldSelector = fields.OneTermEqualSelector(field, value).String() }
	}
	return &informers{
		requests: certificatesinformers.NewFilteredCertificateSigningRequestInformer(c, 0, cache.Indexers{byUser: user},
			only("spec.signerName", certificatesv1.KubeletServingSignerName)),
		nodes: coreinformers.NewNodeInformer(c, 0, cache.Indexers{}),
		services: coreinformers.NewFilteredServiceInformer(c, metav1.NamespaceDefault, 0, cache.Indexers{},
			only(metav1.ObjectNameField, apiService)),
	}
}

func user(obj any) ([]string, error) {
	csr, ok := obj.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil, nil
	}
	return []string{csr.Spec.Username}, nil
}

// notify has each request judged when it changes or its Node does, and failures told.
func (i *informers) notify(judge func(name string), trouble func(what string, err error)) error {
	if err := i.nodes.SetTransform(slim); err != nil {
		return err
	}
	for what, informer := range map[string]cache.SharedIndexInformer{"requests": i.requests, "nodes": i.nodes, "services": i.services} {
		err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
			if ctx.Err() == nil && !expected(err) {
				trouble(what, err)
			}
		})
		if err != nil {
			return err
		}
	}
	_, err := i.requests.AddEventHandler(onChange(func(o metav1.Object) { judge(o.GetName()) }))
	if err != nil {
		return err
	}
	_, err = i.nodes.AddEventHandler(onChange(func(o metav1.Object) {
		keys, _ := i.requests.GetIndexer().IndexKeys(byUser, userPrefix+o.GetName()) // fails only if there is no such index
		for _, k := range keys {
			judge(k)
		}
	}))
	return err
}

func onChange(f func(metav1.Object)) cache.ResourceEventHandler {
	call := func(obj any) {
		if o, ok := obj.(metav1.Object); ok {
			f(o)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: call, UpdateFunc: func(_, obj any) { call(obj) }}
}

// expected failures are how long watches end, also when nothing is wrong.
func expected(err error) bool {
	return errors.Is(err, io.EOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

// slim leaves of a Node what is needed of it: the rest, of which the images are most, would be held for thousands of them.
func slim(obj any) (any, error) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
		Status:     corev1.NodeStatus{Addresses: n.Status.Addresses},
	}, nil
}

// start says whether all was read before ctx ended.
func (i *informers) start(ctx context.Context, running *sync.WaitGroup) bool {
	for _, informer := range []cache.SharedIndexInformer{i.requests, i.nodes, i.services} {
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	return cache.WaitForCacheSync(ctx.Done(), i.requests.HasSynced, i.nodes.HasSynced, i.services.HasSynced)
}

// about gives a request and what it is judged by; no request if there is none of that name. Listers read a cache, and fail
// only where it has no such object.
func (i *informers) about(name string) (*certificatesv1.CertificateSigningRequest, []*corev1.Node, *corev1.Service) {
	csr, err := certificateslisters.NewCertificateSigningRequestLister(i.requests.GetIndexer()).Get(name)
	if err != nil {
		return nil, nil, nil
	}
	nodes, err := corelisters.NewNodeLister(i.nodes.GetIndexer()).List(labels.Everything())
	if err != nil {
		return nil, nil, nil
	}
	api, err := corelisters.NewServiceLister(i.services.GetIndexer()).Services(metav1.NamespaceDefault).Get(apiService)
	if err != nil {
		api = nil
	}
	return csr, nodes, api
}
