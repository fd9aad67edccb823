import { type Clock, errorCode, type Kinesis, type Random } from '@shardwise/core'
import type { InitialPosition } from '../leases/shard-sync.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { Wakeup } from '../waiting.ts'
import { type ChosenStream, type FailedStream, identify, StreamFinder, type StreamSelection } from './stream-finder.ts'
import type { StreamSource } from './stream-source.ts'

/** The streams that the application reads now. */
export interface Streams {
  /** Whether lease keys name their stream. */
  readonly areSeveral: boolean
  readonly sources: readonly StreamSource[]
  /** When the last look for streams that succeeded began, by the monotonic clock; before the first, -Infinity. */
  readonly lookedAtMs: number
  /** Whether at that look it couldn't be found out of some stream what it is: a lease that is of no known stream may be of that one. */
  readonly isUnsure: boolean
  /** Undefined for a stream that is none of the application's, or no longer. @param identifier of a lease */
  find(identifier: string | undefined): StreamSource | undefined
  /** A lease is of a stream that isn't known here: it may have been added since the last look. */
  lookSoon(): void
  /** A stream doesn't exist any more. Returns whether the application goes on without it. */
  lose(source: StreamSource, error: unknown): boolean
}

/** An application that reads one stream. */
export function oneStream(stream: string, initialPosition: InitialPosition): Streams {
  const source = { stream, identifier: undefined, initialPosition }
  return {
    areSeveral: false,
    sources: [source],
    lookedAtMs: Number.NEGATIVE_INFINITY,
    isUnsure: false,
    find: (identifier) => (identifier === undefined ? source : undefined),
    lookSoon: () => {},
    lose: () => false,
  }
}

export interface SeveralStreamsOptions {
  readonly selection: StreamSelection
  readonly initialPosition: InitialPosition
  readonly kinesis: Kinesis
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  /** Streams have come or gone. */
  readonly onChange: () => void
}

const LOOK_INTERVAL_MS = 60_000
/** Leases of unknown streams come up at every look at the table. */
const MIN_LOOK_INTERVAL_MS = 5_000
/** Up to so much shorter or longer, by chance: workers that were started together shall not ask together. */
const JITTER = 0.25
/** A stream that is deleted and made anew is another one; that is looked for rarely, since every worker asks for every stream. */
const IDENTIFY_AGAIN_MS = 10 * 60_000

/** An application that reads several streams, which may come and go. */
export class SeveralStreams implements Streams {
  readonly areSeveral: boolean = true
  readonly #options: SeveralStreamsOptions
  readonly #finder: StreamFinder
  readonly #wakeup = new Wakeup()
  #sources = new Map<string, StreamSource>()
  /** By the stream's name or ARN. */
  readonly #identified = new Map<string, { readonly identifier: string; readonly atMs: number }>()
  #isAsked = false
  #lookedAtMs = Number.NEGATIVE_INFINITY
  #isUnsure = false

  constructor(options: SeveralStreamsOptions) {
    this.#options = options
    this.#finder = new StreamFinder(options)
  }

  get sources(): readonly StreamSource[] {
    return [...this.#sources.values()]
  }

  get lookedAtMs(): number {
    return this.#lookedAtMs
  }

  get isUnsure(): boolean {
    return this.#isUnsure
  }

  find(identifier: string | undefined): StreamSource | undefined {
    return identifier === undefined ? undefined : this.#sources.get(identifier)
  }

  lookSoon(): void {
    this.#isAsked = true
    this.#wakeup.wake()
  }

  lose({ stream, identifier }: StreamSource, error: unknown): boolean {
    const { telemetry, onChange } = this.#options
    this.#identified.delete(stream)
    if (identifier !== undefined && this.#sources.delete(identifier)) {
      telemetry.of(stream).emit({ type: 'streamRemoved', identifier, reason: String(Object(error).message) })
      onChange()
    }
    this.lookSoon()
    return true
  }

  /** Looks again and again, until the signal is aborted. The first look was {@link look}. */
  async watch(signal: AbortSignal): Promise<void> {
    const { clock, random, telemetry } = this.#options
    while (!signal.aborted) {
      this.#isAsked = false
      const scale = 1 + JITTER * (2 * random() - 1)
      await this.#wakeup.until(() => false, signal, clock, scale * MIN_LOOK_INTERVAL_MS)
      await this.#wakeup.until(() => this.#isAsked, signal, clock, scale * (LOOK_INTERVAL_MS - MIN_LOOK_INTERVAL_MS))
      if (signal.aborted) return
      try {
        await this.look(signal)
      } catch (error) {
        if (signal.aborted) return
        telemetry.emit({ type: 'callFailed', doing: 'looking for the streams of the application', error })
      }
    }
  }

  /**
   * Finds out which streams there are. A stream of which that fails is told of and stays as it was. Rejects, and all stays as it was,
   * if they can't be listed or it fails of every one.
   */
  async look(signal: AbortSignal): Promise<void> {
    const beganMs = this.#options.clock.monotonicMs()
    const { chosen, unjudged } = await this.#finder.find(signal)
    const identified: ChosenStream[] = []
    const failed: FailedStream[] = []
    for (const each of chosen) {
      try {
        identified.push({ ...each, identifier: each.identifier ?? (await this.#identify(each.stream, signal)) })
      } catch (error) {
        signal.throwIfAborted()
        const identifier = this.#identified.get(each.stream)?.identifier
        failed.push({ stream: each.stream, identifier, error })
        identified.push({ ...each, identifier })
      }
    }
    if (failed.length > 0 && failed.length === chosen.length) throw failed[0]!.error
    failed.push(...unjudged)
    const before = this.#sources
    this.#sources = this.#sourcesOf(identified, unjudged)
    this.#lookedAtMs = beganMs
    this.#isUnsure = failed.some(({ identifier }) => this.find(identifier) === undefined)
    for (const { stream, error } of failed) {
      this.#options.telemetry.emit({ type: 'callFailed', doing: `finding out about the stream ${stream}`, error })
    }
    this.#tell(before)
  }

  #sourcesOf(identified: readonly ChosenStream[], unjudged: readonly FailedStream[]): Map<string, StreamSource> {
    const sources = new Map<string, StreamSource>()
    for (const { stream, identifier, initialPosition = this.#options.initialPosition } of identified) {
      if (identifier === undefined) continue
      // Kept as it is, so that nobody takes it for another.
      sources.set(identifier, this.#sources.get(identifier) ?? { stream, identifier, initialPosition })
    }
    for (const { identifier } of unjudged) {
      const source = this.find(identifier)
      if (source !== undefined) sources.set(identifier!, source)
    }
    return sources
  }

  /** Undefined if there is no such stream. */
  async #identify(stream: string, signal: AbortSignal): Promise<string | undefined> {
    const { clock, telemetry } = this.#options
    const known = this.#identified.get(stream)
    if (known !== undefined && clock.monotonicMs() - known.atMs < IDENTIFY_AGAIN_MS) return known.identifier
    try {
      const found = await identify(stream, this.#options, signal)
      this.#identified.set(stream, { identifier: found, atMs: clock.monotonicMs() })
      return found
    } catch (error) {
      if (errorCode(error) !== 'ResourceNotFoundException') throw error
      this.#identified.delete(stream)
      telemetry.of(stream).emit({ type: 'streamMissing', error })
      return undefined
    }
  }

  #tell(before: ReadonlyMap<string, StreamSource>): void {
    const { telemetry, onChange } = this.#options
    const added = this.sources.filter(({ identifier }) => !before.has(identifier!))
    const removed = [...before.values()].filter(({ identifier }) => !this.#sources.has(identifier!))
    for (const { stream, identifier } of added) {
      telemetry.of(stream).emit({ type: 'streamAdded', identifier: identifier! })
    }
    for (const { stream, identifier } of removed) {
      telemetry.of(stream).emit({
        type: 'streamRemoved',
        identifier: identifier!,
        reason: 'it is not among the streams of the application any more, or was deleted',
      })
    }
    if (added.length + removed.length > 0) onChange()
  }
}
