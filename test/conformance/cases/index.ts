import type { Case } from '../case.ts'
import { consumers } from './consumers.ts'
import { errors } from './errors.ts'
import { iterators } from './iterators.ts'
import { listing } from './listing.ts'
import { reading } from './reading.ts'
import { reshards } from './reshards.ts'
import { streams } from './streams.ts'
import { subscriptions } from './subscriptions.ts'
import { time } from './time.ts'
import { writing } from './writing.ts'

/** All cases, by concept. */
export const CONCEPTS: Readonly<Record<string, readonly Case[]>> = {
  streams,
  reshards,
  writing,
  iterators,
  reading,
  listing,
  consumers,
  subscriptions,
  errors,
  time,
}
