import type { DynamoDB } from '@shardwise/consumer'
import type { Random } from '@shardwise/core'
import { DynamoDBModel, type Item } from './dynamodb/model.ts'
import type { LeaseWrite } from './lease-witness.ts'
import type { Network } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import { chance } from './randomness.ts'
import { type TableRequest, tableRequest } from './table-requests.ts'
import type { VirtualTime } from './virtual-time.ts'
import type { WriteFaults } from './write-faults.ts'

export const TABLE = 'billing'
/** How long a table is being created. */
export const TABLE_CREATION_MS = 300

export interface DynamoDBServiceOptions {
  readonly time: VirtualTime
  readonly random: Random
  readonly network: Network
  readonly timeoutMs: number
  readonly readLagMs: () => number
  readonly indexLagMs: () => number
  /** How probable each kind of refusal is now. */
  readonly errors: () => { readonly throttle: number; readonly internalError: number }
  readonly writeFaults: WriteFaults
  /** Told of every request of a process; the returned function is told when it was answered without an error. */
  readonly onSent: (process: SimulatedProcess, request: TableRequest) => () => void
  readonly onWrite: (write: LeaseWrite) => void
}

interface Command {
  readonly input: object
  readonly constructor: { readonly name: string }
}

/** The model of DynamoDB behind the network. */
export class DynamoDBService {
  readonly model: DynamoDBModel
  readonly #options: DynamoDBServiceOptions

  constructor(options: DynamoDBServiceOptions) {
    const { time, random, readLagMs, indexLagMs, onWrite } = options
    this.#options = options
    this.model = new DynamoDBModel({
      nowMs: () => time.nowMs,
      random,
      readLagMs,
      indexLagMs,
      createMs: TABLE_CREATION_MS,
      onWrite: ({ key, before, after, context }) =>
        onWrite({ key, before, after, writer: context as SimulatedProcess | undefined }),
    })
  }

  /** A client of this service in a process. */
  clientOf(process: SimulatedProcess): DynamoDB {
    const { network, timeoutMs, writeFaults, onSent } = this.#options
    const send = async (command: Command, { abortSignal }: { abortSignal?: AbortSignal } = {}): Promise<object> => {
      const operation = command.constructor.name.replace(/Command$/, '')
      const request = tableRequest(operation, command.input)
      const strike = writeFaults.sending(process, request.write)
      if (strike !== undefined) await this.#interrupted(process, strike)
      const answered = onSent(process, request)
      const answer = await network.call({
        process,
        service: 'dynamodb',
        timeoutMs,
        signal: abortSignal,
        execute: () => {
          const executed = this.#execute(operation, command.input, process)
          writeFaults.written(process, request.write)
          return executed
        },
        describe: () => describe(operation, command.input),
      })
      answered()
      return answer
    }
    return { send } as unknown as DynamoDB
  }

  /** All that the table holds. */
  items(): Item[] {
    try {
      const input = { TableName: TABLE, ConsistentRead: true }
      return (this.model.execute('Scan', input) as { Items: Item[] }).Items
    } catch (error) {
      if ((error as Error).name === 'ResourceNotFoundException') return []
      throw error
    }
  }

  /** Something that none of the processes does. */
  operate(operation: string, input: object): void {
    this.model.execute(operation, input)
  }

  /** What the process does in the same breath it still does; then something happens to it before anything else. */
  #interrupted(process: SimulatedProcess, strike: () => void): Promise<void> {
    return new Promise((resolve) =>
      this.#options.time.after(0, () => {
        strike()
        process.enter(resolve)
      }),
    )
  }

  #execute(operation: string, input: object, process: SimulatedProcess): object {
    const { random, errors } = this.#options
    const { throttle, internalError } = errors()
    if (chance(random, throttle)) throw refused('ProvisionedThroughputExceededException', 400)
    const fails = chance(random, internalError)
    // An internal error says nothing about what was done.
    if (fails && chance(random, 0.5)) throw refused('InternalServerError', 500)
    const answer = this.model.execute(operation, input, process)
    if (fails) throw refused('InternalServerError', 500)
    return answer
  }
}

function refused(name: string, httpStatusCode: number): Error {
  return Object.assign(new Error(name), { name, $metadata: { httpStatusCode } })
}

function describe(operation: string, input: object): string {
  const { Key, ExpressionAttributeValues: values } = input as {
    Key?: { leaseKey?: { S?: string } }
    ExpressionAttributeValues?: Record<string, Record<string, unknown>>
  }
  const written = Object.values(values ?? {}).map((value) => String(Object.values(value)[0]))
  return [operation, ...(Key?.leaseKey?.S === undefined ? [] : [Key.leaseKey.S]), ...written].join(' ')
}
