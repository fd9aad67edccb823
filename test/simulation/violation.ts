/** A promise of the library, as the simulation checks it. */
export type Invariant =
  /** An acknowledged record isn't where its receipt says. */
  | 'acknowledged is stored'
  /** An acknowledged aggregate holds records that don't belong to its shard. */
  | 'acknowledged fits its shard'
  /** A record is in the stream although its put was rejected as refused. */
  | 'refused is not stored'
  /** A record is in the stream more than once, and its receipt doesn't say so. */
  | 'copies are told'
  /** A receipt or an error tells of as many attempts as there were. */
  | 'attempts are told'
  /** A put is rejected without reason, or with one that doesn't hold. */
  | 'rejected for a reason'
  /** A rejected record is handed back as it was put, and after a close that was cut short each of them. */
  | 'handed back'
  /** `onError` is told of each rejected put, once. */
  | 'every rejection is told'
  /** With `failIfThrottled` nothing that was throttled is sent again. */
  | 'fails if throttled'
  /** Requests and their number stay within what the service and the options allow. */
  | 'within limits'
  /** Where only what a producer asks about its stream comes to nothing, its records go all the same. */
  | 'questions hold nothing up'
  /** What is denied isn't asked for again and again. */
  | 'asks in moderation'
  /** What a request is to carry stays as it is until the request is over, and if it is given up for ever. */
  | 'bytes stay'
  /** Known to go where the service likes, no record shares an aggregate, unless that is asked for; one without a key never does. */
  | 'plain where the service distributes'
  /** After a while a producer knows whether the stream distributes records by itself. */
  | 'changes are noticed'
  /** A flush is over when all that was put before it is settled. */
  | 'flush waits'
  /** Nothing is outstanding when a producer has closed. */
  | 'nothing stays outstanding'
  /** Every put is settled in time. */
  | 'puts settle'
  /** A handler got something that was never put there. */
  | 'nothing is invented'
  /** A handler is told, of what was in an aggregate, whether it lies where it belongs. */
  | 'misplaced is told'
  /** First deliveries of a key's acknowledged records come in put order. */
  | 'order per key'
  /** Within a shard a record comes when those before it, of its key or all, are finished: first or again. */
  | 'in line in the shard'
  /** A record is given up, or its shard stops, only under the policy for that, and after the attempts that are due. */
  | 'given up when due'
  /** What becomes of a record that is given up is told as it is. */
  | 'giving up is told'
  /** Attempts are counted, and none more is made than is due. */
  | 'attempts are counted'
  /** Handlers that take too long are told so, and none earlier. */
  | 'handlers time out'
  /** A batch stays within its bounds, and is of one shard. */
  | 'batches within bounds'
  /** What has been begun lies within a span above the oldest unfinished record. */
  | 'span is bounded'
  /** A shard that has stopped, or is paused, begins nothing new until its time has come. */
  | 'a stopped shard rests'
  /** After its event loop was blocked for longer than a lease lasts, a worker begins nothing under it. */
  | 'nothing under a lease that is over'
  /** Each start of a shard is followed by exactly one end, release, or loss, each at its time. */
  | 'hooks in their order'
  /** Where handlers say where checkpoints are to be, they are nowhere else. */
  | 'checkpoints where named'
  /** Two handlers work on one key at a time, and neither was told to stop. */
  | 'one handler a key'
  /** A child's record is handled before its parents are finished. */
  | 'parents first'
  /** A checkpoint covers a record that no handler has finished. */
  | 'checkpoint covers finished records'
  | 'checkpoint never moves back'
  /** Somebody writes a checkpoint who doesn't hold the lease. */
  | 'only the holder checkpoints'
  /** Every write to the table says what must hold for it, so that one from outdated knowledge does nothing. */
  | 'writes are conditional'
  | 'counters only grow'
  /** What others have put into a lease stays: what nobody here knows, and what was prepared, until the next checkpoint. */
  | 'strange attributes survive'
  /** A shard is said to be finished when all its children have leases. */
  | 'children before the end'
  /** A table whose workers live by rules that aren't ours is only looked at. */
  | 'other rules are respected'
  /** A lease that is being handed off is with its next owner soon, where nothing hinders that. */
  | 'handoffs end'
  /** Who neither leads nor has reason to doubt its leader reads only what concerns itself. */
  | 'only leaders scan'
  /** Renewal and checkpoint are one write, and no more of them than there are intervals. */
  | 'one write a lease and interval'
  /** After one change in a fleet at rest every shard is read again in good time. */
  | 'shards move promptly'
  /** A worker says so when records of a shard that it reads have expired before it came to them. */
  | 'loss is told'
  /** GetRecords keeps to the service's rate, and is not throttled where nobody else reads the shard. */
  | 'polls in moderation'
  /** SubscribeToShard is called once a second and shard at most, and ever less often while it is refused. */
  | 'subscribes in moderation'
  /** A worker has one subscription to a shard at a time, and none when it has closed. */
  | 'one subscription a shard'
  /** Nobody deregisters a consumer unasked. */
  | 'consumers stay registered'
  | 'memory is bounded'
  /** A worker's status tells of shards that have stopped or are paused. */
  | 'status says how it is'
  /** After the faults everything gets well: every shard owned once, evenly, and nothing left to handle. */
  | 'steady state'
  /** Where nobody dies and nothing fails, each record is handled once. */
  | 'nothing again without need'
  /** Whoever closes leaves nothing behind. */
  | 'close gives back'
  /** The library ended, or threw where nobody could catch it. */
  | 'keeps going'

export class Violation extends Error {
  override readonly name = 'Violation'
  readonly invariant: Invariant

  constructor(invariant: Invariant, message: string) {
    super(message)
    this.invariant = invariant
  }
}
