package addons

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// patch is one change to one object, with one reason. It fails where it finds nothing to change.
type patch[T any] func(*T) error

// edit applies patches to the object of that kind and name, in their order.
func edit[T any](set []*unstructured.Unstructured, kind, name string, patches ...patch[T]) error {
	u, err := find(set, kind, name)
	if err != nil {
		return err
	}
	obj := new(T)
	if err := typed(u, obj); err != nil {
		return fmt.Errorf("%s: %w", describe(u), err)
	}
	for _, p := range patches {
		if err := p(obj); err != nil {
			return fmt.Errorf("%s: %w", describe(u), err)
		}
	}
	content, err := untyped(obj)
	if err != nil {
		return fmt.Errorf("%s: %w", describe(u), err)
	}
	u.Object = content
	return nil
}

func find(set []*unstructured.Unstructured, kind, name string) (*unstructured.Unstructured, error) {
	for _, u := range set {
		if u.GetKind() == kind && u.GetName() == name {
			return u, nil
		}
	}
	return nil, fmt.Errorf("%s/%s is not in the manifest", kind, name)
}

// container finds a container of a pod, initial ones included.
func container(pod *corev1.PodSpec, name string) (*corev1.Container, error) {
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i], nil
			}
		}
	}
	return nil, fmt.Errorf("container %q is not in the manifest", name)
}

// setImage also says that an image that is there is never asked for elsewhere.
func setImage(pod *corev1.PodSpec, name, ref string) error {
	c, err := container(pod, name)
	if err != nil {
		return err
	}
	c.Image, c.ImagePullPolicy = ref, corev1.PullIfNotPresent
	return nil
}

// replaceEnv changes a variable that upstream sets.
func replaceEnv(c *corev1.Container, name, value string) error {
	for i := range c.Env {
		if c.Env[i].Name == name {
			c.Env[i] = corev1.EnvVar{Name: name, Value: value}
			return nil
		}
	}
	return fmt.Errorf("container %q: variable %s is not in the manifest", c.Name, name)
}

// addEnv adds a variable that upstream leaves to its default. One that it does set by now deserves
// a second look, so that is an error.
func addEnv(c *corev1.Container, name, value string) error {
	for _, e := range c.Env {
		if e.Name == name {
			return fmt.Errorf("container %q: variable %s is already in the manifest", c.Name, name)
		}
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
	return nil
}

// dropContainer takes out an initial container.
func dropContainer(pod *corev1.PodSpec, name string) error {
	for i, c := range pod.InitContainers {
		if c.Name == name {
			pod.InitContainers = append(pod.InitContainers[:i], pod.InitContainers[i+1:]...)
			return nil
		}
	}
	return fmt.Errorf("init container %q is not in the manifest", name)
}

// dropVolume takes out a volume and every mount of it.
func dropVolume(pod *corev1.PodSpec, name string) error {
	kept := pod.Volumes[:0]
	for _, v := range pod.Volumes {
		if v.Name != name {
			kept = append(kept, v)
		}
	}
	if len(kept) == len(pod.Volumes) {
		return fmt.Errorf("volume %q is not in the manifest", name)
	}
	pod.Volumes = kept
	for i := range pod.Containers {
		c := &pod.Containers[i]
		mounts := c.VolumeMounts[:0]
		for _, m := range c.VolumeMounts {
			if m.Name != name {
				mounts = append(mounts, m)
			}
		}
		c.VolumeMounts = mounts
	}
	return nil
}

// replaceText changes exactly one place in a text.
func replaceText(s *string, old, with string) error {
	if n := strings.Count(*s, old); n != 1 {
		return fmt.Errorf("%q is in it %d times instead of once", old, n)
	}
	*s = strings.Replace(*s, old, with, 1)
	return nil
}
