package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// ResetPassword is the table that gives the guest a new password: stored first, so that it is never lost, then told to the
// guest by its agent, or by a stop and start, at which cloud-init reads it.
func (l *Lifecycle) ResetPassword() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "ResetPassword", Action: "reset_password", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.ResetPassword, Title: "Configure cloud-init", To: kvm.RPCloudinit, Do: l.row(l.newPassword)},
		{From: kvm.RPCloudinit, Title: "Set password in the guest", To: kvm.RPStop, Do: l.row(l.tellGuest)},
		{From: kvm.RPStop, Title: "Stop VM", To: kvm.RPStopped, Do: l.row(l.stopVM)},
		{From: kvm.RPStopped, Title: "Start VM", To: kvm.RPStarting, Do: l.row(l.startVM)},
		{From: kvm.RPStarting, Title: "Verify running + Email", To: kvm.Ready, OnFail: kvm.RPStopped, Do: l.row(l.verifyReset)},
	}}
}

// newPassword makes and stores the password, once, and writes it into cloud-init. That is needed with an agent, too: else
// the next change of the guest's addresses would bring the old one back.
func (l *Lifecycle) newPassword(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	_, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	var password kvm.Secret
	if s.Row.PasswordSet {
		password, err = l.Store.Password(ctx, s)
	} else if password, err = kvm.RandomPassword(l.Rand); err == nil {
		user := s.Username
		if vm.VM().CIUser != "" { // what the guest goes by
			user = vm.VM().CIUser
		}
		err = l.Store.SetPassword(ctx, s, user, password)
	}
	if err != nil {
		return pipeline.Result{}, err
	}
	ci := guest(s)
	ci.Password = password
	ci.SSHKeys, _ = publicKeys(s.SSHKeys)
	sent := false
	return l.configure(ctx, s, change{kind: taskConfig, what: "cloud-init",
		same: func(vm *kvm.VM) bool { return sent && vm.CIUser == ci.User },
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			err := c.SetCloudInit(ctx, vm, ci)
			sent = err == nil
			return "", err
		}})
}

// tellGuest sets the password through the guest's agent. Where that answers, nothing has to be stopped.
func (l *Lifecycle) tellGuest(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	power, _, err := c.Power(ctx, vm)
	if err != nil {
		return pipeline.Result{}, err
	}
	if power != kvm.Running {
		return skip("skip — it does not run")
	}
	password, err := l.Store.Password(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	err = c.SetGuestPassword(ctx, vm, s.Username, password)
	if errors.Is(err, kvm.ErrUnknown) && ctx.Err() == nil { // the answer was lost, perhaps: the same password may be set twice
		err = c.SetGuestPassword(ctx, vm, s.Username, password)
	}
	switch {
	case err == nil:
		return pipeline.Result{To: kvm.RPStarting}, nil
	case ctx.Err() != nil, errors.Is(err, kvm.ErrUnreachable), errors.Is(err, kvm.ErrAuth):
		return pipeline.Result{}, err
	case errors.Is(err, kvm.ErrDenied):
		return skip("skip — the token may not use the guest agent")
	}
	return skip("skip — no guest agent") // or none that can: the restart does it
}

// verifyReset puts the mail into the outbox together with the status.
func (l *Lifecycle) verifyReset(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return l.verifyAndTell(ctx, s, "reset", s.Package.MailResetPassword)
}

// verifyAndTell sees the VM run, and puts a mail by template into the outbox together with the status. Each time has a mail of
// its own; that it leaves once is the transaction's doing.
func (l *Lifecycle) verifyAndTell(ctx context.Context, s *kvm.Service, what, template string) (pipeline.Result, error) {
	if res, err := l.verify(ctx, s); err != nil {
		return res, err
	}
	if template == "" {
		return pipeline.Result{Note: "no e-mail: the product names none"}, nil
	}
	nonce, err := kvm.RandomUser(l.Rand)
	if err != nil {
		return pipeline.Result{}, err
	}
	mail := kvm.Mail{ServiceID: s.ID, Action: "SendEmail", Template: template,
		Key: fmt.Sprintf("%s:%d:%d:%s", what, s.ID, l.Clock.Now().UnixMicro(), nonce)}
	return pipeline.Result{Commit: func(ctx context.Context) error { return l.Store.MoveWithMail(ctx, s, kvm.Ready, mail) }}, nil
}
