import { type Clock, orAborted, pause } from '@shardwise/core'

/** How far one shard may be read ahead of its handlers. */
export interface ShardReadAhead {
  /**
   * Resolves when there is room for another answer or event, and holds that room. One at a time. Rejects with the signal's reason
   * once it is aborted.
   *
   * @param kind a `call` is answered soon, and takes one of the places for calls in progress; an `event` may be long in coming
   */
  reserve(signal: AbortSignal, kind?: 'call' | 'event'): Promise<Reservation>
}

/** Room that is held for what is going to come. */
export interface Reservation {
  /** What comes should have no more bytes than this, as far as that can be chosen. */
  readonly bytes: number
  /**
   * Gives the room back; what has come is counted where it is kept. Further calls have no effect.
   *
   * @param bytes what has come, by which the next is judged; undefined if there was no answer
   * @param isMore more is there: the next answer will have as much as it may
   */
  done(bytes?: number, isMore?: boolean): void
}

export interface ReadAheadOptions {
  /** For all shards together. */
  readonly maxBufferedBytes: number
  readonly clock: Clock
}

/** What an answer is expected to have before there was one. */
const FIRST_EXPECTATION = 2 ** 20
/** The most that the service answers. */
const FULL_ANSWER = 10 * 2 ** 20
/** Where the answer was smaller, so much of what was expected is still expected. */
const STILL_EXPECTED = 0.25
/** As much as a shard gives in a second: reading more at once is no faster. */
const MAX_ANSWER = 2 * 2 ** 20
/** A call costs the same CPU whatever it brings; smaller answers than this make reading dear. */
const GOOD_ANSWER = 2 ** 18
/** Memory for which another call may be in progress. */
const BYTES_A_CALL = 2 * 2 ** 20
/** With a single one, a shard that is stuck with more than all of the memory would stop the others. */
const MIN_CALLS = 2
const MAX_CALLS = 64
/** When nobody got room for so long, those who hold it are stuck, or too slow to wait for. */
const STALL_MS = 1_000

interface Waiter {
  readonly part: ShardPart
  readonly kind: 'call' | 'event'
  readonly order: number
  readonly grant: (reservation: Reservation) => void
}

/**
 * Bounds what is read and not handled, over all shards of a worker. What the handlers haven't finished and what the calls in
 * progress are expected to bring stay within `maxBufferedBytes`; only what recent answers didn't make likely goes over it, by at
 * most a full answer of the service for each call in progress.
 *
 * Half of the memory is promised, in equal parts, so that a shard always has its own, whatever becomes of the others. The
 * other half is given in the order of asking: to a shard up to twice its own part, and for one answer of any size while it keeps no
 * more than its own. Should nobody get any for a second, since it is held by shards that are stuck or slow, the others go on within their own.
 */
export class ReadAhead {
  readonly #maxBytes: number
  readonly #maxCalls: number
  readonly #clock: Clock
  readonly #parts = new Set<ShardPart>()
  /** Who has room of its own, and waits for a place among the calls; in the order of asking. */
  readonly #forPlace = new Set<Waiter>()
  /** Who waits for room of the common half, in the order of asking. */
  readonly #forRoom = new Set<Waiter>()
  /** Who has to finish something first. */
  readonly #forOwn = new Map<ShardPart, Waiter>()
  #order = 0
  #calls = 0
  /** What is in use, by all. */
  #used = 0
  /** What is in use or promised: of each shard its own part, or what it uses if that is more. */
  #committed = 0
  /** The common half is held by shards that are stuck or slow. */
  #isStalled = false
  #stallWatch: AbortController | undefined

  constructor({ maxBufferedBytes, clock }: ReadAheadOptions) {
    this.#maxBytes = maxBufferedBytes
    this.#maxCalls = Math.min(MAX_CALLS, Math.max(MIN_CALLS, Math.round(maxBufferedBytes / BYTES_A_CALL)))
    this.#clock = clock
  }

  /** What the shards hold, and what is expected to come, in bytes. */
  get usedBytes(): number {
    return this.#used
  }

  get callsInProgress(): number {
    return this.#calls
  }

  /**
   * A shard that is going to be read gets its part, until that is closed.
   *
   * @param onStarved told when its reader has to wait until something is finished
   */
  join(onStarved: () => void = () => {}): ShardPart {
    const part: ShardPart = new ShardPart({
      lacksRoom: (waiter) => this.#forOwn.has(part) || !this.#fits(waiter),
      starved: onStarved,
      changed: (before) => this.#changed(part, before),
      ask: (kind, grant) => this.#ask({ part, kind, grant, order: this.#order++ }),
      giveUp: (waiter) => {
        this.#forget(waiter)
        this.#admit()
      },
      released: (kind) => {
        if (kind === 'call') this.#calls--
        this.#admit()
      },
      left: () => {
        this.#parts.delete(part)
        this.#divide()
      },
    })
    this.#parts.add(part)
    this.#divide()
    return part
  }

  get #own(): number {
    return Math.floor(this.#maxBytes / 2 / Math.max(1, this.#parts.size))
  }

  /** The number of shards has changed. */
  #divide(): void {
    this.#used = 0
    this.#committed = 0
    for (const { used } of this.#parts) {
      this.#used += used
      this.#committed += Math.max(used, this.#own)
    }
    this.#placeAgain([...this.#forPlace, ...this.#forRoom, ...this.#forOwn.values()])
    this.#admit()
  }

  #changed(part: ShardPart, before: number): void {
    const { used } = part
    this.#used += used - before
    this.#committed += Math.max(used, this.#own) - Math.max(before, this.#own)
    if (used >= before) return
    const waiter = this.#forOwn.get(part)
    if (waiter !== undefined) this.#placeAgain([waiter])
    // There may be room for who waits because of the stall alone.
    if (this.#isStalled && [...this.#forOwn.values()].some((each) => this.#fits(each))) this.#endStall()
    this.#admit()
  }

  #ask(waiter: Waiter): Waiter {
    this.#place(waiter)
    this.#admit()
    return waiter
  }

  #placeAgain(waiters: readonly Waiter[]): void {
    for (const waiter of waiters) {
      this.#forget(waiter)
      this.#place(waiter)
    }
  }

  #place(waiter: Waiter): void {
    const { used } = waiter.part
    const needed = used + this.#expectedOf(waiter)
    const mayUseCommon = used === 0 || (!this.#isStalled && (used <= this.#own || needed <= 2 * this.#own))
    if (needed <= this.#own) this.#forPlace.add(waiter)
    else if (mayUseCommon) this.#forRoom.add(waiter)
    else this.#forOwn.set(waiter.part, waiter)
  }

  /** What is expected to come, if it is asked for now. */
  #expectedOf({ part, kind }: Waiter): number {
    const { used, expected, isMore } = part
    if (kind === 'event') return expected
    // Rather a small answer than none, for who holds a record for long.
    if (this.#isStalled && used > 0 && used <= this.#own / 2) return Math.min(expected, this.#own - used)
    return isMore ? Math.max(expected, this.#answerFor(part)) : expected
  }

  #forget(waiter: Waiter): void {
    this.#forPlace.delete(waiter)
    this.#forRoom.delete(waiter)
    if (this.#forOwn.get(waiter.part) === waiter) this.#forOwn.delete(waiter.part)
  }

  /** Lets go whoever may. */
  #admit(): void {
    for (let next = this.#next(); next !== undefined; next = this.#next()) this.#grant(next)
    const own = first(this.#forPlace)
    const isWaiting = this.#forRoom.size > 0 || (own !== undefined && this.#hasPlace(own))
    if (isWaiting && !this.#isStalled) this.#watchForStall()
    else this.#endStallWatch()
  }

  #next(): Waiter | undefined {
    const [own, common] = [this.#forPlace, this.#forRoom].map((waiters) => {
      const waiter = first(waiters)
      return waiter !== undefined && this.#hasPlace(waiter) && this.#hasRoom(waiter) ? waiter : undefined
    })
    if (own === undefined || common === undefined) return own ?? common
    return own.order < common.order ? own : common
  }

  #hasPlace({ kind }: Waiter): boolean {
    return kind === 'event' || this.#calls < this.#maxCalls
  }

  /** In a stall calls may use up what they may go over the bound by, and events one full answer, but no more, be everything stuck. */
  #hasRoom(waiter: Waiter): boolean {
    if (this.#fits(waiter)) return true
    if (!this.#isStalled) return false
    if (waiter.kind === 'event') return this.#used + waiter.part.expected <= this.#maxBytes + FULL_ANSWER
    return this.#used + (this.#calls + 1) * FULL_ANSWER <= this.#maxBytes + this.#maxCalls * FULL_ANSWER
  }

  #fits(waiter: Waiter): boolean {
    const { used } = waiter.part
    const more = Math.max(used + this.#expectedOf(waiter), this.#own) - Math.max(used, this.#own)
    return this.#committed + more <= this.#maxBytes || this.#used === 0
  }

  #grant(waiter: Waiter): void {
    const { part, kind, grant } = waiter
    const expected = this.#expectedOf(waiter)
    const left = Math.max(0, this.#own - part.used)
    const fits = this.#fits(waiter)
    const isSmall = kind === 'call' && !fits
    const isCommon = this.#forRoom.has(waiter)
    this.#forget(waiter)
    if (kind === 'call') this.#calls++
    if (fits && (isCommon || this.#forRoom.size === 0)) this.#endStall()
    grant(part.hold(isSmall ? Math.min(expected, left) : expected, isSmall ? left : this.#answerFor(part), kind))
  }

  #answerFor({ used }: ShardPart): number {
    const own = this.#own
    return Math.min(MAX_ANSWER, Math.max(2 * own - used, used <= own ? GOOD_ANSWER : 0))
  }

  #watchForStall(): void {
    if (this.#stallWatch !== undefined) return
    const watch = new AbortController()
    this.#stallWatch = watch
    void pause(this.#clock, STALL_MS, watch.signal).then((over) => {
      if (!over || this.#stallWatch !== watch) return
      this.#stallWatch = undefined
      this.#setStalled(true)
      this.#admit()
    })
  }

  #setStalled(isStalled: boolean): void {
    this.#isStalled = isStalled
    this.#placeAgain(isStalled ? [...this.#forRoom] : [...this.#forOwn.values()])
  }

  #endStall(): void {
    this.#endStallWatch()
    if (this.#isStalled) this.#setStalled(false)
  }

  #endStallWatch(): void {
    this.#stallWatch?.abort('over')
    this.#stallWatch = undefined
  }
}

interface ShardPartHub {
  readonly lacksRoom: (waiter: Waiter) => boolean
  readonly starved: () => void
  readonly changed: (usedBefore: number) => void
  readonly ask: (kind: 'call' | 'event', grant: (reservation: Reservation) => void) => Waiter
  readonly giveUp: (waiter: Waiter) => void
  readonly released: (kind: 'call' | 'event') => void
  readonly left: () => void
}

/** One shard's part of the memory. */
export class ShardPart implements ShardReadAhead {
  readonly #hub: ShardPartHub
  readonly #open = new Set<Reservation>()
  #kept = 0
  #reserved = 0
  #expected = FIRST_EXPECTATION
  #isMore = false
  #waiter: Waiter | undefined
  #isClosed = false

  constructor(hub: ShardPartHub) {
    this.#hub = hub
  }

  /** What it keeps, and what is expected to come. */
  get used(): number {
    return this.#kept + this.#reserved
  }

  /** What the next answer or event is expected to have. */
  get expected(): number {
    return this.#expected
  }

  /** The last answer had all that it might have. */
  get isMore(): boolean {
    return this.#isMore
  }

  /** Its reader waits until something is finished, of this shard or another. */
  get isStarved(): boolean {
    return this.#waiter !== undefined && this.#hub.lacksRoom(this.#waiter)
  }

  /** Tells how many bytes the shard keeps now: to be called when some have come, and when some have been finished. */
  holds(bytes: number): void {
    if (bytes === this.#kept || this.#isClosed) return
    const { used } = this
    this.#kept = bytes
    this.#hub.changed(used)
  }

  async reserve(signal: AbortSignal, kind: 'call' | 'event' = 'call'): Promise<Reservation> {
    signal.throwIfAborted()
    const { promise, resolve } = Promise.withResolvers<Reservation>()
    let granted: Reservation | undefined
    const waiter = this.#hub.ask(kind, (reservation) => {
      granted = reservation
      this.#waiter = undefined
      resolve(reservation)
    })
    if (granted === undefined) {
      this.#waiter = waiter
      if (this.isStarved) this.#hub.starved()
    }
    try {
      return await orAborted(promise, signal)
    } catch (error) {
      this.#waiter = undefined
      this.#hub.giveUp(waiter)
      granted?.done()
      throw error
    }
  }

  /** What it keeps counts no more, and its part goes to the others. */
  close(): void {
    for (const reservation of [...this.#open]) reservation.done()
    this.holds(0)
    this.#isClosed = true
    this.#hub.left()
  }

  /** Called where room is given. */
  hold(bytes: number, maxAnswer: number, kind: 'call' | 'event'): Reservation {
    const before = this.used
    this.#reserved += bytes
    this.#hub.changed(before)
    const reservation: Reservation = {
      bytes: maxAnswer,
      done: (came, isMore = false) => {
        if (!this.#open.delete(reservation)) return
        if (came !== undefined) this.#expect(came, isMore, kind)
        const usedBefore = this.used
        this.#reserved -= bytes
        this.#hub.changed(usedBefore)
        this.#hub.released(kind)
      },
    }
    this.#open.add(reservation)
    return reservation
  }

  #expect(came: number, isMore: boolean, kind: 'call' | 'event'): void {
    this.#isMore = isMore
    // After an event without records none may come for minutes, and it would hold its room as long.
    const still = kind === 'event' && came === 0 ? 0 : STILL_EXPECTED
    this.#expected = Math.max(came, Math.floor(this.#expected * still))
  }
}

function first<T>(waiters: ReadonlySet<T>): T | undefined {
  const [waiter] = waiters
  return waiter
}
