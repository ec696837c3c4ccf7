package localcluster

import (
	"context"
	"path"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// exportedObjects are the kinds of objects of which all are exported. Secrets and ConfigMaps are not: nobody knows what users
// keep in them.
func exportedObjects() []schema.GroupVersionResource {
	var out []schema.GroupVersionResource
	for group, names := range map[schema.GroupVersion][]string{
		{Version: "v1"}: {
			"nodes", "namespaces", "pods", "events", "services", "persistentvolumes", "persistentvolumeclaims", "serviceaccounts",
		},
		{Group: "apps", Version: "v1"}:                {"deployments", "daemonsets", "statefulsets", "replicasets"},
		{Group: "batch", Version: "v1"}:               {"jobs", "cronjobs"},
		{Group: "coordination.k8s.io", Version: "v1"}: {"leases"},
		{Group: "discovery.k8s.io", Version: "v1"}:    {"endpointslices"},
		{Group: "networking.k8s.io", Version: "v1"}:   {"networkpolicies", "ingresses"},
		{Group: "storage.k8s.io", Version: "v1"}:      {"storageclasses"},
	} {
		for _, n := range names {
			out = append(out, group.WithResource(n))
		}
	}
	return out
}

// objectsLimit is for all of them: a cluster that does not answer has logs that say why.
const objectsLimit = 20 * time.Second

func (x *export) objects(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, objectsLimit)
	defer cancel()
	if err := x.cluster.AwakeNow(ctx); err != nil { // nobody would answer
		x.missing("objects", err)
		return
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", x.cluster.KubeconfigFile())
	if err != nil {
		x.missing("objects", err)
		return
	}
	cfg.QPS = -1
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		x.missing("objects", err)
		return
	}
	for _, kind := range exportedObjects() {
		list, err := client.Resource(kind).List(ctx, metav1.ListOptions{})
		x.missing(kind.Resource, err)
		if err != nil {
			continue
		}
		for i := range list.Items {
			blank(&list.Items[i])
		}
		data, err := yaml.Marshal(list.UnstructuredContent())
		x.missing(kind.Resource, err)
		x.put(path.Join("objects", kind.Resource+".yaml"), data)
	}
}

// blank takes out where users put secrets that are in no Secret: the values of variables, and copies of whole objects.
func blank(o *unstructured.Unstructured) {
	o.SetManagedFields(nil)
	annotations := o.GetAnnotations()
	delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
	o.SetAnnotations(annotations)
	blankVariables(o.Object)
}

func blankVariables(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			blankVariables(e)
		}
	case map[string]any:
		for key, e := range v {
			if list, ok := e.([]any); ok && key == "env" {
				for _, one := range list {
					if variable, ok := one.(map[string]any); ok && variable["value"] != nil {
						variable["value"] = "(left out)"
					}
				}
			}
			blankVariables(e)
		}
	}
}
