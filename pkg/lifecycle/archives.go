package lifecycle

import (
	"context"
	"errors"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// Backups are the backups of s's VM, the oldest first: see archives.
func (l *Lifecycle) Backups(ctx context.Context, s *kvm.Service) ([]kvm.Backup, error) {
	c, err := l.cluster(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.Row.UUID == "" && len(s.Row.UUIDs) == 0 {
		if s.Row.Legacy {
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrUnproved, "service %d has no UUID stored, so nothing proves which backups are its own", s.ID), "puqkvm adopt %d", s.ID)
		}
		return nil, nil
	}
	list, _, err := l.archives(ctx, c, s)
	return list, err
}

// archives are the backups, on the product's storage and on those of the journal, whose inside carries a UUID that the service has
// or had, the oldest first, as far as nodes that are online see them: also those that others made. The VM's own node is asked
// first; of a storage that nodes share it is enough. One that cannot be read is left out: nothing says whose it is. journal is
// what the journal has, whatever became of it, but for storages that the cluster no longer has.
func (l *Lifecycle) archives(ctx context.Context, c Cluster, s *kvm.Service) (list, journal []kvm.Backup, err error) {
	if journal, err = l.Store.Backups(ctx, s.ID); err != nil {
		return nil, nil, err
	}
	list, lost, err := l.archivesOf(ctx, c, s, journal)
	return list, slices.DeleteFunc(journal, func(b kvm.Backup) bool { return slices.Contains(lost, b.Storage) }), err
}

// archivesOf is archives with the journal read. lost are storages of the journal that the cluster no longer has: what is on them is
// out of reach.
func (l *Lifecycle) archivesOf(ctx context.Context, c Cluster, s *kvm.Service, journal []kvm.Backup) (out []kvm.Backup, lost []string, err error) {
	var storages []string
	var vmids []int
	note := func(storage string, vmid int) {
		if storage != "" && !slices.Contains(storages, storage) {
			storages = append(storages, storage)
		}
		if vmid != 0 && !slices.Contains(vmids, vmid) {
			vmids = append(vmids, vmid)
		}
	}
	note(s.Package.BackupStorage, s.Row.VMID)
	for _, b := range journal {
		note(b.Storage, b.VMID) // it was another one before a reinstallation, perhaps
	}
	if len(storages) == 0 {
		return nil, nil, nil
	}
	all, err := c.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	nodes := slices.DeleteFunc(slices.Clone(all), func(n kvm.Node) bool { return !n.Online })
	slices.SortStableFunc(nodes, func(x, y kvm.Node) int { return rank(y.Name == s.Row.Node) - rank(x.Name == s.Row.Node) })
	seen := map[string]bool{} // storages that were read whole, for all nodes
	var asked, listed []string
	for _, n := range nodes {
		if !slices.ContainsFunc(storages, func(name string) bool { return !seen[name] }) {
			break
		}
		stores, err := backupStorages(ctx, c, s, n.Name)
		if err != nil {
			return nil, nil, err
		}
		for _, st := range stores {
			listed = append(listed, st.Name)
			if !st.Active || seen[st.Name] || !slices.Contains(storages, st.Name) {
				continue
			}
			asked = append(asked, st.Name)
			seen[st.Name] = st.Shared
			for _, vmid := range vmids {
				list, err := l.ownArchives(ctx, c, s, journal, n.Name, st.Name, vmid)
				if err != nil {
					return nil, nil, err
				}
				out = append(out, list...)
			}
		}
	}
	for _, name := range storages {
		switch {
		case slices.Contains(asked, name):
		case name != s.Package.BackupStorage && len(nodes) == len(all) && !slices.Contains(listed, name):
			lost = append(lost, name)
		default:
			return nil, nil, kvm.WithHint(kvm.Errorf(kvm.ErrUnreachable, "no node that is online has the backup storage %s active: which backups are the service's is not known", name),
				"puqkvm product set %d backup_storage=NAME, or mend the storage in Proxmox", s.ProductID)
		}
	}
	slices.SortStableFunc(out, func(a, b kvm.Backup) int { return a.Time.Compare(b.Time) })
	return out, lost, nil
}

// unread says that err is no answer about the backup itself: one that is gone or damaged is just not the service's.
func unread(err error) bool {
	for _, e := range []error{kvm.ErrUnreachable, kvm.ErrUnknown, kvm.ErrBusy, kvm.ErrAuth, kvm.ErrDenied, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// ownArchives are those of archives on one storage, as node sees it, under one VMID. What the journal says of a volume is not read
// again while its time and size are the same.
func (l *Lifecycle) ownArchives(ctx context.Context, c Cluster, s *kvm.Service, journal []kvm.Backup, node, storage string, vmid int) ([]kvm.Backup, error) {
	list, err := c.Backups(ctx, node, storage, vmid)
	if err != nil {
		return nil, err
	}
	var out []kvm.Backup
	for _, b := range list {
		if i := slices.IndexFunc(journal, func(j kvm.Backup) bool { return j.Volume == b.Volume }); i >= 0 {
			b.Own = true
			if j := journal[i]; j.UUID != "" && j.Size == b.Size && j.Time.Equal(b.Time) {
				b.UUID = j.UUID
			}
		}
		if b.UUID == "" {
			err := c.Inside(ctx, &b)
			switch {
			case err == nil:
			case unread(err):
				return nil, err
			default:
				continue
			}
		}
		if s.Row.HasUUID(b.UUID) {
			out = append(out, b)
		}
	}
	return out, nil
}

// ownBackups are those of archives that count and are rotated: those of the journal. One of the journal that no storage lists is
// looked for by itself, and forgotten when it is gone.
func (l *Lifecycle) ownBackups(ctx context.Context, c Cluster, s *kvm.Service) ([]kvm.Backup, error) {
	list, journal, err := l.archives(ctx, c, s)
	if err != nil {
		return nil, err
	}
	for _, b := range journal {
		if slices.ContainsFunc(list, func(a kvm.Backup) bool { return a.Volume == b.Volume }) {
			continue
		}
		found, err := l.findBackup(ctx, c, &b)
		switch {
		case err != nil:
			return nil, err
		case !found:
			err = l.Store.ForgetBackup(ctx, s.ID, b)
		}
		if err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(list, func(b kvm.Backup) bool { return !b.Own }), nil
}

// archive is the service's backup with that volume: kvm.ErrInvalid when it has none.
func (l *Lifecycle) archive(ctx context.Context, c Cluster, s *kvm.Service, volume string) (kvm.Backup, error) {
	list, journal, err := l.archives(ctx, c, s)
	if err != nil {
		return kvm.Backup{}, err
	}
	i := slices.IndexFunc(list, func(b kvm.Backup) bool { return b.Volume == volume })
	if i < 0 {
		if n := slices.IndexFunc(journal, func(b kvm.Backup) bool { return b.Volume == volume }); n >= 0 {
			found, err := l.findBackup(ctx, c, &journal[n])
			switch {
			case err != nil && unread(err):
				return kvm.Backup{}, err
			case err != nil: // it is there, and damaged
				return kvm.Backup{}, kvm.Errorf(kvm.ErrPermanent, "%w", err)
			case !found:
				if err := l.Store.ForgetBackup(ctx, s.ID, journal[n]); err != nil {
					return kvm.Backup{}, err
				}
				return kvm.Backup{}, kvm.Errorf(kvm.ErrNotFound, "the backup %s of service %d is gone", volume, s.ID)
			}
		}
		return kvm.Backup{}, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "service %d has no backup %q", s.ID, volume), "puqkvm backup list %d", s.ID)
	}
	return list[i], nil
}

// RemoveBackup is a table of one row that begins and ends at ready: the backup is gone. A protected one stays, and one that was not
// made here is nobody's to remove by this way: the administrator's own jobs have their own retention.
func (l *Lifecycle) RemoveBackup(volume string) *pipeline.Pipeline {
	do := func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		c, err := l.cluster(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		if err := l.settle(ctx, c, s); err != nil {
			return pipeline.Result{}, err
		}
		b, err := l.archive(ctx, c, s, volume)
		switch {
		case errors.Is(err, kvm.ErrNotFound): // a removal whose answer was lost is given again
			return pipeline.Result{}, nil
		case err != nil:
			return pipeline.Result{}, err
		case !b.Own:
			return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the backup %s was not made here, so it is not removed from here", volume), "remove it in Proxmox, when nobody needs it")
		case b.Protected:
			return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the backup %s is protected against removal", volume), "take the protection off in Proxmox")
		}
		return pipeline.Result{}, l.deleteBackup(ctx, c, s, &b)
	}
	return &pipeline.Pipeline{Name: "Backup", Action: "backup", Steps: []pipeline.Step{
		{From: kvm.Ready, Title: "Remove backup", To: kvm.Ready, Do: l.row(do)},
	}}
}
