/** Kinesis and DynamoDB in a process of their own, until whoever started it goes away. */
import { type LocalOptions, startLocal } from '@shardwise/local'
import type { ServerConfig } from './local-process.ts'

const local = await startLocal(JSON.parse(process.argv[2] ?? '{}') as LocalOptions)
process.once('disconnect', () => process.exit(0))
process.send?.({ kinesis: local.kinesis, dynamodb: local.dynamodb } satisfies ServerConfig)
