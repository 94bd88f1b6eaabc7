package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"k8s.io/klog/v2"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	stub "k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/plugin/v1beta1"
)

// serveFakeDevices offers the devices IDs of RESOURCE to the kubelet of the node it runs on, until it is killed.
// A container that is given some sees their IDs in FAKE_DEVICES. This is the kubelet's own stub for its tests.
func serveFakeDevices(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: fake-device-plugin RESOURCE ID…, e.g. example.com/fake fake-0 fake-1")
	}
	resource, ids := args[0], args[1:]
	var devices []*api.Device
	for _, id := range ids {
		devices = append(devices, &api.Device{ID: id, Health: api.Healthy})
	}
	ctx := context.Background()
	socket := filepath.Join(api.DevicePluginPath, strings.ReplaceAll(resource, "/", "_")+".sock")
	plugin := stub.NewDevicePluginStub(klog.Background(), devices, socket, resource, false, false)
	plugin.SetAllocFunc(func(request *api.AllocateRequest, _ map[string]*api.Device) (*api.AllocateResponse, error) {
		answer := &api.AllocateResponse{}
		for _, container := range request.ContainerRequests {
			given := map[string]string{"FAKE_DEVICES": strings.Join(container.DevicesIds, ",")}
			answer.ContainerResponses = append(answer.ContainerResponses, &api.ContainerAllocateResponse{Envs: given})
		}
		return answer, nil
	})
	if err := plugin.Start(ctx); err != nil {
		return err
	}
	if err := plugin.Register(ctx, api.KubeletSocket, resource, ""); err != nil {
		return err
	}
	plugin.Watch(ctx, api.KubeletSocket, resource, "") // a kubelet that restarts is registered with again
	return nil
}
