package org.libmusig

import com.sun.jna.Callback
import com.sun.jna.CallbackThreadInitializer
import com.sun.jna.Native

/*
 * The library's threads as the JVM knows them once they call it: daemons, so that a program whose main function ends or
 * throws ends. They stay known to it between two calls: otherwise JNA attaches and detaches them each time, which costs
 * three times the call itself, and fails where an object calls the node, whose answer comes back on the same thread.
 */
private val daemon = CallbackThreadInitializer(true, false, "libmusig")

/** For a callback's own initialiser: see generated.sed. */
internal fun onDaemonThreads(callback: Callback): Unit = Native.setCallbackThreadInitializer(callback, daemon)
