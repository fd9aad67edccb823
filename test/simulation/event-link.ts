import type { Random } from '@shardwise/core'
import type { NetworkOptions, ServiceName } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import { between, chance, pick } from './randomness.ts'
import type { Happening } from './virtual-time.ts'

/** Where a service's events come from, as `Subscription` of `@shardwise/local` gives them. */
export interface EventSource<Event> {
  readonly ended: boolean
  /** If it ended by an error. */
  readonly error: { readonly type: string; readonly message: string } | undefined
  /** When something falls due by time alone. */
  readonly dueMs: number
  next(): Event | undefined
  onDue(listener: () => void): void
  close(): void
}

/** What may happen to a stream of events: it breaks with an error, or without a sign, or ends early. */
export type LinkTrouble = 'break' | 'stall' | 'end'

export interface EventLinkOptions<Event> {
  readonly process: SimulatedProcess
  readonly service: ServiceName
  readonly source: EventSource<Event>
  readonly bytesOf: (event: Event) => number
  readonly signal: AbortSignal | undefined
  /** The service lets it go after so long. */
  readonly lifetimeMs: number
  readonly describe: () => string
  /** Told what becomes of it. */
  readonly note: (fate: LinkFate) => void
}

/** `heldUp`: what its process hadn't pulled has held the service up. */
export type LinkFate = LinkTrouble | 'heldUp' | 'ended' | 'failed' | 'left'

type Message<Event> =
  | { readonly kind: 'event'; readonly event: Event; readonly bytes: number }
  | { readonly kind: 'end' }
  | { readonly kind: 'error'; readonly error: Error }

/** So much is sent ahead of what the process has pulled, as an HTTP/2 stream's window has it. */
const WINDOW_BYTES = 2 ** 20
/** Of links that a cut falls upon so many go on after it; of the others nothing is heard any more. */
const SURVIVES_CUT = 0.5
const RETRANSMIT_MS = 500
/** Of processes that die so many leave a machine behind that ends their connections. */
const CLOSED_AFTER_DEATH = 0.5
/** Of what gets lost on the way, so much comes later, and so much breaks the link; the rest stalls it. */
const RETRANSMITTED = 0.5
const BREAKS = 0.25
/** With a break, so often, goes what has come and wasn't pulled. */
const BREAK_DISCARDS = 0.5
/** What is late takes so many milliseconds. */
const LATE_MS = [1_000, 10_000] as const

/**
 * Carries a service's events to a process, in their order: until the service ends them, the process goes away, or the connection
 * is no more. What the process hasn't pulled holds the service up.
 */
export class EventLink<Event> {
  readonly process: SimulatedProcess
  readonly #network: NetworkOptions
  readonly #options: EventLinkOptions<Event>
  readonly #survivesCut: boolean
  readonly #closesAfterDeath: boolean
  /** On their way, in order. */
  readonly #wire: { readonly message: Message<Event>; readonly atMs: number }[] = []
  /** At the process's door. */
  readonly #arrived: Message<Event>[] = []
  /** Not pulled yet. */
  #inbox: Message<Event>[] = []
  #wake: (() => void) | undefined
  #isCarrying = false
  #due: Happening | undefined
  #isPumpDue = false
  /** Sent and, as far as the service knows, not pulled. */
  #unpulledBytes = 0
  #lastAtMs = 0
  /** Nothing passes any more, either way, and neither side is told. */
  #isSilent = false
  #isServed = true
  #isHungUp = false
  #isPulling = false
  #isHeldUp = false

  constructor(network: NetworkOptions, options: EventLinkOptions<Event>) {
    const { source, signal, lifetimeMs, process } = options
    const { random, time } = network
    this.process = process
    this.#network = network
    this.#options = options
    this.#survivesCut = chance(random, SURVIVES_CUT)
    this.#closesAfterDeath = chance(random, CLOSED_AFTER_DEATH)
    source.onDue(() => this.#pumpSoon())
    time.after(lifetimeMs, () => {
      if (!this.#isServed) return
      source.close()
      this.#pump()
    })
    if (signal?.aborted) this.hangUp()
    else signal?.addEventListener('abort', () => this.hangUp(), { once: true })
    this.#pumpSoon()
  }

  /** As far as its process knows, it is still open. */
  get isOpen(): boolean {
    return !this.#isHungUp
  }

  /**
   * As the SDK has it: one to be iterated once. A `return` waits for a `next` that is under way, and the connection is told nothing of
   * it.
   */
  async *events(): AsyncGenerator<Event, void, undefined> {
    for (;;) {
      const message = await this.#pull()
      if (message.kind === 'event') {
        yield message.event
        continue
      }
      this.#isHungUp = true
      this.#options.note(message.kind === 'end' ? 'ended' : 'failed')
      if (message.kind === 'end') return
      throw message.error
    }
  }

  /** The process lets go. Whoever waits for an event is told. */
  hangUp(): void {
    if (this.#isHungUp) return
    this.#inbox = []
    this.#receive({ kind: 'error', error: named('AbortError', 'Request aborted') })
    this.#isHungUp = true
    this.#options.note('left')
    this.#toService(() => this.#stopServing())
  }

  /** Its process never came to know of it: then the service learns that, or keeps it. */
  abandon(): void {
    if (chance(this.#network.random, 0.5)) this.#isSilent = true
    this.hangUp()
  }

  /** Something goes wrong with it now. */
  strike(trouble: LinkTrouble): void {
    if (!this.#isServed || this.#isSilent) return
    this.#trace(() => `meets: ${trouble}`)
    this.#options.note(trouble)
    if (trouble === 'stall') this.#isSilent = true
    else if (trouble === 'break') this.#break()
    else {
      this.#options.source.close()
      this.#pumpSoon()
    }
  }

  async #pull(): Promise<Message<Event>> {
    while (this.#inbox.length === 0) {
      this.#isPulling = true
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#isPulling = false
    }
    const message = this.#inbox.shift()!
    if (message.kind === 'event') {
      this.#toService(() => {
        this.#unpulledBytes -= message.bytes
        this.#pump()
      })
    }
    return message
  }

  /** At the service, as soon as what is happening there is over. */
  #pumpSoon(): void {
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    this.#network.time.after(0, () => {
      this.#isPumpDue = false
      this.#pump()
    })
  }

  #pump(): void {
    const { source, bytesOf } = this.#options
    const { time } = this.#network
    if (this.#due !== undefined) time.cancel(this.#due)
    this.#due = undefined
    if (this.process.isDead && this.#closesAfterDeath) this.#stopServing()
    while (this.#isServed && this.#unpulledBytes < WINDOW_BYTES) {
      const event = source.next()
      if (event !== undefined) {
        const bytes = bytesOf(event)
        this.#unpulledBytes += bytes
        this.#send({ kind: 'event', event, bytes })
      } else if (source.ended) {
        this.#isServed = false
        const { error } = source
        this.#send(error === undefined ? { kind: 'end' } : { kind: 'error', error: exception(error) })
      } else {
        if (source.dueMs === Number.POSITIVE_INFINITY) return
        this.#due = time.at(Math.max(source.dueMs, time.nowMs + 1), () => this.#pump())
        return
      }
    }
    if (this.#isServed && !this.#isHeldUp) {
      this.#isHeldUp = true
      this.#options.note('heldUp')
    }
  }

  #stopServing(): void {
    if (!this.#isServed) return
    this.#isServed = false
    this.#options.source.close()
  }

  #send(message: Message<Event>): void {
    const { time, random, weather } = this.#network
    const { lost, answerLost, late } = weather(this.#options.service)
    let wayMs = this.#oneWayMs()
    if (chance(random, late)) wayMs += between(random, ...LATE_MS)
    if (chance(random, Math.max(lost, answerLost))) {
      const fate = random()
      if (fate < RETRANSMITTED) wayMs += between(random, 0.4, 6) * RETRANSMIT_MS
      else this.strike(fate < RETRANSMITTED + BREAKS ? 'break' : 'stall')
    }
    this.#lastAtMs = Math.max(this.#lastAtMs, time.nowMs + wayMs)
    this.#wire.push({ message, atMs: this.#lastAtMs })
    this.#carry()
  }

  #carry(): void {
    const [head] = this.#wire
    if (head === undefined || this.#isCarrying) return
    this.#isCarrying = true
    this.#network.time.at(head.atMs, () => this.#arrive(head.message))
  }

  #arrive(message: Message<Event>): void {
    const { time, cut } = this.#network
    if (this.#isSilent) return
    if (cut(this.process, this.#options.service) === 'answers') {
      if (this.#survivesCut) time.after(RETRANSMIT_MS, () => this.#arrive(message))
      else this.#isSilent = true
      return
    }
    this.#wire.shift()
    this.#isCarrying = false
    this.#carry()
    this.#arrived.push(message)
    this.process.enter(() => {
      for (const each of this.#arrived.splice(0)) this.#receive(each)
    })
  }

  #break(): void {
    const { time, random } = this.#network
    const discards = chance(random, BREAK_DISCARDS)
    const error = connectionError(random)
    this.#isSilent = true
    this.#stopServing()
    time.after(this.#oneWayMs(), () =>
      this.process.enter(() => {
        if (discards) this.#inbox = []
        this.#receive({ kind: 'error', error })
      }),
    )
  }

  #receive(message: Message<Event>): void {
    if (this.#isHungUp || this.#inbox.some(({ kind }) => kind !== 'event')) return
    this.#trace(() => describe(message))
    this.#inbox.push(message)
    if (this.#isPulling) this.#wake?.()
  }

  #toService(act: () => void): void {
    const { time, cut } = this.#network
    const attempt = (): void => {
      if (this.#isSilent) return
      if (cut(this.process, this.#options.service) !== 'requests') act()
      else if (this.#survivesCut) time.after(RETRANSMIT_MS, attempt)
    }
    time.after(this.#oneWayMs(), attempt)
  }

  #oneWayMs(): number {
    const { random, wayMs, weather } = this.#network
    return between(random, wayMs / 10, wayMs) + random() * weather(this.#options.service).slowMs
  }

  #trace(text: () => string): void {
    this.#network.trace(this.process.name, () => `${this.#options.describe()} ${text()}`)
  }
}

function describe<Event>(message: Message<Event>): string {
  if (message.kind === 'event') return `brings ${message.bytes} bytes`
  return message.kind === 'end' ? 'ends' : `fails: ${message.error.name} ${message.error.message}`
}

/** As the SDK throws what the service sends as an event: without an HTTP status. */
function exception({ type, message }: { readonly type: string; readonly message: string }): Error {
  return Object.assign(named(type, message), { $metadata: {} })
}

function connectionError(random: Random): Error {
  return pick(random, [
    () => Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }),
    () =>
      Object.assign(new Error('Stream closed with error code NGHTTP2_INTERNAL_ERROR'), {
        code: 'ERR_HTTP2_STREAM_ERROR',
      }),
    () => Object.assign(new Error('Premature close'), { code: 'ERR_STREAM_PREMATURE_CLOSE' }),
  ])()
}

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name })
}
