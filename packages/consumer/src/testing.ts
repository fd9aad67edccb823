export { ManualClock } from '@shardwise/core/testing'
export {
  TestApplication,
  type TestApplicationOptions,
  type TestPlace,
  type TestPutOptions,
  type TestRecord,
} from './testing/test-application.ts'
export type { Delivery, RecordChoice } from './testing/watched-handlers.ts'
